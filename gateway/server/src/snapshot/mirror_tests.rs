use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tollgate_core::host::Host;
use tollgate_router::{Ports, Query};

use super::*;
use crate::upstream::announcement::Announcements;

const SERVICE: Uuid = Uuid::from_u128(1);

fn compiler() -> Compiler {
    let metrics = Arc::new(Metrics::register(&prometheus::Registry::new(), "node", "version").unwrap());
    let network = crate::upstream::addresses::tests::network();
    let balancers = Arc::new(Balancers::new(network.resolver.runtime().clone(), network, Announcements::default()));
    Compiler { registry: Registry::new(), metrics, verification: Verification::On, balancers }
}

fn document(value: Value) -> Option<Document> {
    Document::try_from(value).ok()
}

fn route(id: u128, path: &str) -> Option<Document> {
    document(json!({
        "id": Uuid::from_u128(id), "name": null, "protocols": ["http"], "paths": [path], "regex_priority": 0,
        "https_redirect_status_code": 426, "strip_path": true, "preserve_host": false, "service": {"id": SERVICE},
    }))
}

fn service(retries: Value) -> Option<Document> {
    document(json!({
        "id": SERVICE, "name": "s", "protocol": "http", "host": "a.test", "port": 80, "path": null, "retries": retries,
        "connect_timeout": null, "write_timeout": 1, "read_timeout": 1, "tls_verify": null, "enabled": true,
    }))
}

fn found(snapshot: &Snapshot, path: &str) -> Option<Arc<RouteEntry>> {
    found_with(snapshot, path, &HeaderMap::new())
}

fn found_with(snapshot: &Snapshot, path: &str, headers: &HeaderMap) -> Option<Arc<RouteEntry>> {
    let host = Host::parse("x").unwrap();
    let ports = Ports::new(None, 80, 80);
    let query = Query { method: "GET", https: false, host: Some(&host), ports, path, headers, sni: None };
    snapshot.router.find(&query).map(|found| Arc::clone(found.value))
}

fn id(entry: Option<Arc<RouteEntry>>) -> Option<u128> {
    entry.map(|entry| entry.target.route_id.as_u128())
}

#[test]
fn only_what_changed_is_compiled_again() {
    let (compiler, mut mirror) = (compiler(), Mirror::default());
    mirror.set(&compiler, Mirrored::Service, SERVICE, service(json!(5)));
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(2), route(2, "/two"));
    let before = mirror.snapshot(&compiler).unwrap().unwrap();
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(3), route(3, "~/three/[0-9]"));
    let after = mirror.snapshot(&compiler).unwrap().unwrap();
    assert!(Arc::ptr_eq(&found(&before, "/two").unwrap(), &found(&after, "/two").unwrap()));
    assert_eq!(id(found(&before, "/three/1")), None);
    assert_eq!(id(found(&after, "/three/1")), Some(3));
    assert!(mirror.snapshot(&compiler).unwrap().is_none());
}

#[test]
fn a_deleted_route_no_longer_matches() {
    let (compiler, mut mirror) = (compiler(), Mirror::default());
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(2), route(2, "/two"));
    assert_eq!(id(found(&mirror.snapshot(&compiler).unwrap().unwrap(), "/two")), Some(2));
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(2), None);
    assert_eq!(id(found(&mirror.snapshot(&compiler).unwrap().unwrap(), "/two")), None);
}

#[test]
fn a_change_of_a_service_reaches_its_routes() {
    let (compiler, mut mirror) = (compiler(), Mirror::default());
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(2), route(2, "/two"));
    let entry = |mirror: &mut Mirror| found(&mirror.snapshot(&compiler).unwrap().unwrap(), "/two").unwrap();
    assert!(entry(&mut mirror).service.is_none());
    mirror.set(&compiler, Mirrored::Service, SERVICE, service(json!(7)));
    assert_eq!(entry(&mut mirror).service.as_ref().unwrap().attempts, 8);
    mirror.set(&compiler, Mirrored::Service, SERVICE, service(Value::Null));
    assert_eq!(entry(&mut mirror).service.as_ref().unwrap().attempts, 6, "null is the default");
    mirror.set(&compiler, Mirrored::Service, SERVICE, None);
    assert!(entry(&mut mirror).service.is_none());
}

#[test]
fn routes_of_a_disabled_service_are_left_out() {
    let (compiler, mut mirror) = (compiler(), Mirror::default());
    let mut elsewhere = route(2, "/").unwrap();
    elsewhere.insert("service".to_owned(), Value::Null);
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(2), Some(elsewhere));
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(3), route(3, "/three"));
    for (enabled, expected) in [(true, 3), (false, 2), (true, 3)] {
        let mut service = service(json!(5)).unwrap();
        service.insert("enabled".to_owned(), json!(enabled));
        mirror.set(&compiler, Mirrored::Service, SERVICE, Some(service));
        let snapshot = mirror.snapshot(&compiler).unwrap().unwrap();
        assert_eq!(id(found(&snapshot, "/three")), Some(expected), "enabled: {enabled}");
    }
}

#[test]
fn a_change_of_a_plugin_reaches_every_route() {
    let (compiler, mut mirror) = (compiler(), Mirror::default());
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(2), route(2, "/two"));
    let plugin = Uuid::from_u128(9);
    let global =
        json!({"id": plugin, "name": "unknown", "config": {}, "enabled": true, "service": null, "route": null});
    mirror.set(&compiler, Mirrored::Plugin, plugin, document(global));
    let entry = found(&mirror.snapshot(&compiler).unwrap().unwrap(), "/two").unwrap();
    assert!(matches!(entry.chain, Chain::Uncompilable("plugin_uncompilable")));
    mirror.set(&compiler, Mirrored::Plugin, plugin, None);
    let entry = found(&mirror.snapshot(&compiler).unwrap().unwrap(), "/two").unwrap();
    assert!(matches!(&entry.chain, Chain::Ready(plugins) if plugins.entries().is_empty()));
}

#[test]
fn a_damaged_route_refuses_what_it_could_match_and_delays_no_other_change() {
    let (compiler, mut mirror) = (compiler(), Mirror::default());
    let damaged = |path: &str, value: &str| {
        let mut route = route(2, path).unwrap();
        route.insert("headers".to_owned(), json!({"x-version": [value]}));
        Some(route)
    };
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(3), route(3, "/"));
    for (path, value, asked) in [("/admin", "~*(", "/admin/x"), ("~/(", "v1", "/any")] {
        mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(2), damaged(path, value));
        let snapshot = mirror.snapshot(&compiler).unwrap().unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-version"), HeaderValue::from_static("v1"))]);
        let found = found_with(&snapshot, asked, &headers);
        assert_eq!(id(found.clone()), Some(2), "the next route must not serve {asked}");
        assert!(matches!(found.unwrap().chain, Chain::Uncompilable("route_uncompilable")));
    }
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(2), damaged("/admin", "~*("));
    assert_eq!(id(found(&mirror.snapshot(&compiler).unwrap().unwrap(), "/other")), Some(3));
}

#[test]
fn an_unreadable_route_blocks_changes_until_it_is_deleted() {
    let (compiler, mut mirror) = (compiler(), Mirror::default());
    let unreadable = Uuid::from_u128(4);
    mirror.set(&compiler, Mirrored::Route, unreadable, document(json!({"id": 4})));
    assert!(matches!(mirror.snapshot(&compiler), Err(SnapshotError::Unreadable(id)) if id == unreadable));
    mirror.set(&compiler, Mirrored::Route, Uuid::from_u128(3), route(3, "/three"));
    assert!(mirror.snapshot(&compiler).is_err());
    mirror.set(&compiler, Mirrored::Route, unreadable, None);
    assert_eq!(id(found(&mirror.snapshot(&compiler).unwrap().unwrap(), "/three")), Some(3));
}
