//! `/endpoints`: every path that is served, with `{…}` for variable parts (gateway.md §2.5).

use std::collections::BTreeSet;

use serde_json::json;

use crate::response::Response;
use crate::state::AdminState;

const FIXED: [&str; 20] = [
    "/",
    "/cache",
    "/cache/{key}",
    "/config",
    "/debug/node/log-level",
    "/debug/node/log-level/{log_level}",
    "/endpoints",
    "/metrics",
    "/oauth2_tokens/explain",
    "/openapi.json",
    "/plugins/enabled",
    "/plugins/schema/{name}",
    "/schemas/plugins/validate",
    "/schemas/plugins/{name}",
    "/schemas/{db_entity_name}/validate",
    "/schemas/{name}",
    "/status",
    "/tags",
    "/tags/{tags}",
    "/timers",
];

/// What upstreams have besides their entities.
const OF_TARGETS: [&str; 6] = [
    "/upstreams/{upstreams}/health",
    "/upstreams/{upstreams}/targets/all",
    "/upstreams/{upstreams}/targets/{targets}/healthy",
    "/upstreams/{upstreams}/targets/{targets}/unhealthy",
    "/upstreams/{upstreams}/targets/{targets}/{address}/healthy",
    "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
];

/// The console, if it is on; its page has files below.
const OF_CONSOLE: [&str; 2] = ["/ui", "/ui/caller"];

/// `GET /endpoints`.
pub(crate) fn show(state: &AdminState) -> Response {
    Response::ok(&json!({ "data": paths(state) }))
}

/// The paths.
pub(crate) fn paths(state: &AdminState) -> BTreeSet<String> {
    let mut paths: BTreeSet<String> = FIXED.iter().map(ToString::to_string).collect();
    if state.console {
        paths.extend(OF_CONSOLE.map(str::to_owned));
    }
    for entities in state.served() {
        let kind = entities.kind();
        let collection = format!("/{}", kind.segment);
        let one = format!("{collection}/{{{}}}", kind.name);
        for (field, target) in kind.foreign_fields() {
            let Some(target) = state.served().map(|target| target.kind()).find(|known| known.name == target) else {
                continue;
            };
            if !kind.only_below_parent && kind.foreign_paths().any(|(served, _)| served.name == field.name) {
                paths.insert(format!("{one}/{}", field.name));
            }
            let children = format!("/{}/{{{}}}/{}", target.segment, target.name, kind.nested_segment);
            paths.insert(format!("{children}/{{{}}}", kind.name));
            paths.insert(children);
        }
        if kind.name == "targets" {
            paths.extend(OF_TARGETS.map(str::to_owned));
        }
        if !kind.only_below_parent {
            paths.insert(one);
            paths.insert(collection);
        }
    }
    paths
}
