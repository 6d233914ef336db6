//! `tollgate admin-token`: makes, lists and revokes the tokens of the Admin API, in the database of the settings.
//!
//! A token is shown once, when it is made. A running gateway knows it, or no longer knows it, from then on.

use std::sync::Arc;

use tollgate_admin::{AdminTokens, Role};
use tollgate_core::clock::SystemClock;
use tollgate_core::entity::admin_token;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::random::SystemRandom;
use tollgate_store::Store;

use crate::telemetry::access_log::Timestamp;

/// The command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The token cannot be made.
    #[error("cannot make an admin token named {name:?}: {why}")]
    Create {
        /// Its name.
        name: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The token cannot be revoked.
    #[error("cannot revoke the admin token named {name:?}: {why}")]
    Revoke {
        /// Its name.
        name: String,
        /// The cause.
        why: DaoError,
    },
    /// There is no such token.
    #[error("no admin token is named {0:?}: `tollgate admin-token list` shows which exist")]
    Unknown(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a token.
    Create {
        /// Whom it is for.
        name: String,
        /// What its holder may do.
        role: Role,
    },
    /// Show which exist.
    List,
    /// End one.
    Revoke {
        /// Whom it was for.
        name: String,
    },
}

/// The tokens in a store.
pub fn of(store: &Store) -> AdminTokens {
    AdminTokens::new(store.documents(Arc::new(admin_token::kind())), Arc::new(SystemClock), Arc::new(SystemRandom))
}

fn explained(error: &DaoError) -> String {
    match error {
        DaoError::Unique { .. } => "the name is taken; revoke that token first, or choose another name".to_owned(),
        DaoError::Schema(violations) => violations.message(),
        other => other.to_string(),
    }
}

/// Runs a step; the result is its output.
pub async fn run(store: &Store, step: Step) -> Result<String, Error> {
    let tokens = of(store);
    match step {
        Step::Create { name, role } => match tokens.create(&name, role).await {
            Ok(token) => Ok(token.expose().to_owned()),
            Err(why) => Err(Error::Create { name, why: explained(&why) }),
        },
        Step::Revoke { name } => match tokens.revoke(&name).await {
            Ok(true) => Ok(format!("Revoked {name}.")),
            Ok(false) => Err(Error::Unknown(name)),
            Err(why) => Err(Error::Revoke { name, why }),
        },
        Step::List => {
            let tokens = tokens.list().await?;
            let rows = tokens.iter().map(|token| {
                let made = Timestamp::new(token.created_at.saturating_mul(1000));
                format!("{:5}  {made}  {}", token.role.as_str(), token.name)
            });
            let rows: Vec<_> = rows.collect();
            Ok(if rows.is_empty() { "There are no admin tokens.".to_owned() } else { rows.join("\n") })
        }
    }
}
