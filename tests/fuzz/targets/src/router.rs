//! The router: any routes and any request; the order in which routes were written makes no difference.

use http::HeaderMap;
use tollgate_core::host::Host;
use tollgate_router::path::normalise;
use tollgate_router::{MatchedPath, Ports, Query, RouteSpec, Router};
use uuid::Uuid;

/// Lines: method, host and path of the request; then a route on each, as `METHODS HOSTS PATHS` with commas.
pub fn router(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let asked: Vec<_> = lines.next().unwrap_or_default().splitn(3, ' ').collect();
    let [method, host, path] = asked.as_slice() else { return };
    let Ok(path) = normalise(path) else { return };
    let host = Host::parse(host).ok();
    let specs: Vec<_> = lines.take(16).enumerate().map(|(nth, line)| spec(nth, line)).collect();
    // Patterns that are not valid are refused when they are written.
    let Ok(forwards) = Router::compile(specs.iter().map(|spec| (spec.clone(), spec.id))) else { return };
    let backwards = Router::compile(specs.iter().rev().map(|spec| (spec.clone(), spec.id))).expect("the same routes");
    let query = Query {
        method,
        https: false,
        host: host.as_ref(),
        ports: Ports::new(None, 80, 8000),
        path: &path,
        headers: &HeaderMap::new(),
        sni: None,
    };
    let found = forwards.find(&query).map(|found| (*found.value, found.path));
    assert_eq!(found, backwards.find(&query).map(|found| (*found.value, found.path)), "{text:?}");
    let Some((id, matched)) = found else { return };
    let spec = specs.iter().find(|spec| spec.id == id).expect("one of the routes");
    assert!(spec.methods.is_empty() || spec.methods.iter().any(|known| known == method), "{text:?}");
    if let MatchedPath::Prefix(length) = matched {
        assert!(
            spec.paths.iter().any(|prefix| prefix.len() == length && path.starts_with(prefix.as_str())),
            "{text:?}"
        );
    }
}

fn spec(nth: usize, line: &str) -> RouteSpec {
    let mut parts = line.splitn(3, ' ');
    let mut list = || -> Vec<String> {
        let part = parts.next().unwrap_or_default();
        part.split(',').filter(|entry| !entry.is_empty()).take(4).map(str::to_owned).collect()
    };
    let (methods, hosts, paths) = (list(), list(), list());
    RouteSpec { id: Uuid::from_u128(nth as u128 + 1), methods, hosts, paths, ..RouteSpec::default() }
}
