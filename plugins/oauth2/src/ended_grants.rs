//! What the audit log says of tokens and codes that end because their client, service or plugin instance is deleted: one
//! line for each of these, with their number.
//!
//! There may be 100,000 of them, which are deleted by one statement: as many lines would crowd out all others, and would
//! say nothing new, since `token_issued` and `code_issued` have the ids of the client, service and instance of each.

use std::sync::Arc;

use tollgate_plugin::audit::{Action, AuditLog, Event, Outcome};
use tollgate_plugin::store::{Dependents, Ended, Store, statement};

use crate::entity::credential;

const SERVICES: &str = "services";
const PLUGINS: &str = "plugins";

/// What has tokens and codes.
const OWNERS: [Dependents; 3] = [
    Dependents { of: credential::NAME, count: statement!("oauth2/count_of_credentials.sql") },
    Dependents { of: SERVICES, count: statement!("oauth2/count_of_services.sql") },
    Dependents { of: PLUGINS, count: statement!("oauth2/count_of_plugins.sql") },
];

/// Writes the lines from now on.
pub(crate) fn record(store: &Store, audit_log: &Arc<dyn AuditLog>) {
    for owner in OWNERS {
        let audit_log = Arc::clone(audit_log);
        store.report_dependents(owner, move |ended| audit_log.write(&event(ended)));
    }
}

fn event(ended: &Ended) -> Event {
    let mut event = Event::new(Action::TokensEnded, Outcome::Done).by_caller();
    match ended.with {
        SERVICES => event.service = Some(ended.id),
        PLUGINS => event.plugin = Some(ended.id),
        _ => event.credential = Some(ended.id),
    }
    event.tokens = ended.counts.get("tokens").copied();
    event.codes = ended.counts.get("codes").copied();
    event
}
