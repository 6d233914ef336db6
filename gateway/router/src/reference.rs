//! The router against the rules read literally: every route compared with every request.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::{MatchedPath, Query, RouteSpec, Router};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use regex::Regex;
use uuid::Uuid;

/// Contract gateway.md §6 as one 64-bit number, then the id.
type Key = (u64, Uuid);

/// What the rules, applied one by one, make of a request.
fn reference(routes: &[RouteSpec], query: &Query<'_>) -> Option<(Uuid, MatchedPath)> {
    let mut matches: Vec<(Key, Uuid, MatchedPath)> = Vec::new();
    for route in routes {
        let groups = groups(&route.paths);
        for (nth, paths) in groups.iter().enumerate() {
            if let Some(path) = group_matches(route, paths, query) {
                let id = match groups.len() {
                    1 => route.id,
                    _ => split_id(route.id, nth + 1),
                };
                matches.push(((bits(route, paths), id), route.id, path));
            }
        }
    }
    matches.into_iter().max_by_key(|(key, ..)| *key).map(|(_, route, path)| (route, path))
}

fn split_id(route: Uuid, nth: usize) -> Uuid {
    let namespace = Uuid::parse_str("7f145bf9-0dce-4f91-98eb-debbce4b9f6b").unwrap();
    Uuid::new_v5(&namespace, format!("{route}#{nth}").as_bytes())
}

fn groups(paths: &[String]) -> Vec<Vec<&String>> {
    let kind = |path: &str| if path.starts_with('~') { 0 } else { path.len() };
    let mut groups: Vec<Vec<&String>> = Vec::new();
    for path in paths {
        match groups.iter_mut().find(|group| kind(group[0]) == kind(path)) {
            Some(group) => group.push(path),
            None => groups.push(vec![path]),
        }
    }
    if groups.is_empty() { vec![vec![]] } else { groups }
}

fn bits(route: &RouteSpec, paths: &[&String]) -> u64 {
    let present = [
        route.methods.is_empty(),
        route.hosts.is_empty(),
        route.headers.is_empty(),
        route.snis.is_empty(),
        route.paths.is_empty(),
    ];
    let kinds = present.iter().filter(|absent| !**absent).count() as u64;
    let plain = !route.hosts.is_empty() && route.hosts.iter().all(|host| !host.contains('*'));
    let regex = paths.first().is_some_and(|path| path.starts_with('~'));
    let length = if regex { 0 } else { paths.first().map_or(0, |path| path.len() as u64) };
    let regex_priority = if regex { route.regex_priority as u64 } else { 0 };
    kinds << 61
        | u64::from(plain) << 60
        | (route.headers.len() as u64) << 52
        | u64::from(regex) << 51
        | regex_priority << 19
        | length
}

fn group_matches(route: &RouteSpec, paths: &[&String], query: &Query<'_>) -> Option<MatchedPath> {
    let method = route.methods.is_empty() || route.methods.iter().any(|method| method == query.method);
    let host = route.hosts.is_empty() || route.hosts.iter().any(|host| host_matches(host, query));
    let sni = route.snis.is_empty()
        || !query.https
        || query.sni.is_some_and(|sni| route.snis.iter().any(|pattern| name_matches(pattern, sni)));
    let headers = route.headers.iter().all(|(name, values)| {
        query.headers.get_all(name.as_str()).iter().any(|sent| {
            let sent = sent.to_str().unwrap().to_lowercase();
            values.iter().any(|value| match value.strip_prefix("~*") {
                Some(pattern) => regex(pattern).is_match(&sent),
                None => value.to_lowercase() == sent,
            })
        })
    });
    if !(method && host && sni && headers) {
        return None;
    }
    if paths.is_empty() {
        return Some(MatchedPath::None);
    }
    paths.iter().find_map(|path| match path.strip_prefix('~') {
        Some(pattern) => {
            let len = regex(&format!("^{pattern}")).find(query.path)?.len();
            Some(MatchedPath::Regex { len })
        }
        None => query.path.starts_with(path.as_str()).then_some(MatchedPath::Prefix(path.len())),
    })
}

/// Compiling is slow in a test build, and the patterns are few.
fn regex(pattern: &str) -> Regex {
    thread_local!(static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default());
    COMPILED.with_borrow_mut(|compiled| {
        compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap()).clone()
    })
}

fn host_matches(pattern: &str, query: &Query<'_>) -> bool {
    let (name, port) = match pattern.split_once(':') {
        Some((name, port)) => (name, Some(port.parse::<u16>().unwrap())),
        None => (pattern, None),
    };
    query.host.is_some_and(|host| name_matches(name, host)) && (port.is_none() || port == query.port)
}

fn name_matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => name.ends_with(suffix),
        (_, Some(prefix)) => name.starts_with(prefix),
        _ => name == pattern,
    }
}

const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const HOSTS: [&str; 9] =
    ["a.com", "b.com", "x.a.com", "*.a.com", "*.com", "a.*", "x.a.*", "a.com:8000", "*.a.com:8443"];
const PATHS: [&str; 13] = [
    "/",
    "/a",
    "/api",
    "/api/",
    "/api/v1",
    "/apix",
    "/api/v1/users",
    "/b/c",
    "~/api/v[0-9]+",
    "~/api",
    r"~/(?<first>\w+)/users",
    "~/a|/b",
    "~/apix?/v1$",
];
const HEADERS: [&str; 3] = ["x-a", "x-b", "x-c"];
const VALUES: [&str; 4] = ["1", "Two", "~*^t[a-z]o", "~*[0-9]"];
const SNIS: [&str; 3] = ["a.com", "*.a.com", "a.*"];
const SENT_PATHS: [&str; 11] =
    ["/", "/a", "/api", "/api/", "/api/v1", "/api/v1/users", "/api/v22/x", "/apix/v1", "/ap", "/b/c/d", "/z/users"];

fn some_of(all: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        Just(vec![]),
        subsequence(all, 1..=most).prop_shuffle().prop_map(|picked| picked.into_iter().map(String::from).collect())
    ]
}

prop_compose! {
    fn any_route()(
        id in any::<u128>(),
        methods in some_of(&METHODS, 2),
        hosts in some_of(&HOSTS, 3),
        paths in some_of(&PATHS, 5),
        headers in btree_map(select(&HEADERS[..]).prop_map(String::from), some_of(&VALUES, 2), 0..2),
        snis in some_of(&SNIS, 2),
        regex_priority in 0_i64..3,
    ) -> RouteSpec {
        let mut headers: BTreeMap<String, Vec<String>> = headers;
        headers.retain(|_, values| !values.is_empty());
        RouteSpec { id: Uuid::from_u128(id), methods, hosts, paths, headers, snis, regex_priority, ..RouteSpec::default() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_router_agrees_with_the_rules_read_literally(
        routes in vec(any_route(), 0..32),
        requests in vec((
            select(&METHODS[..]),
            any::<bool>(),
            prop_oneof![Just(None), select(&["a.com", "b.com", "x.a.com", "y.x.a.com", "a.org", "A.com"][..]).prop_map(Some)],
            select(&[None, Some(80), Some(8000), Some(8443)][..]),
            select(&SENT_PATHS[..]),
            vec((select(&HEADERS[..]), select(&["1", "two", "TWO", "x"][..])), 0..3),
            prop_oneof![Just(None), select(&["a.com", "x.a.com", "b.com"][..]).prop_map(Some)],
        ), 1..40),
    ) {
        let criteria = |route: &RouteSpec| {
            !(route.methods.is_empty() && route.hosts.is_empty() && route.paths.is_empty()
                && route.headers.is_empty() && route.snis.is_empty())
        };
        let routes: Vec<RouteSpec> = routes.into_iter().filter(criteria).collect();
        let router = Router::compile(routes.iter().map(|route| (route.clone(), route.id))).unwrap();
        for (method, https, host, port, path, sent, sni) in requests {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let query = Query { method, https, host, port, path, headers: &headers, sni };
            let found = router.find(&query).map(|found| (*found.value, found.path));
            prop_assert_eq!(found, reference(&routes, &query), "{:?}", query);
        }
    }
}

/// A piece of a regular expression, and how often it may occur.
fn any_piece() -> impl Strategy<Value = String> {
    const ATOMS: [&str; 14] =
        ["a", "v", "/", "ab", "(?:va)", "(a|v)", "[av]", ".", r"\w", "(?i:A)", "(?<n>v/)", r"\b", "(?:|a)", "é"];
    const TIMES: [&str; 12] = ["", "", "", "*", "+", "?", "+*", "*?", "{0}", "{0,2}", "{2}", "??"];
    (select(&ATOMS[..]), select(&TIMES[..])).prop_map(|(atom, times)| format!("{atom}{times}"))
}

/// Regular expressions that hide where they begin.
fn any_regex() -> impl Strategy<Value = String> {
    let pieces = || vec(any_piece(), 0..5).prop_map(|pieces| pieces.concat());
    let flags = select(&["", "", "(?i)", "(?m)", "(?s)", "(?x)", "(?U)"][..]);
    let whole = (flags, pieces(), prop::option::of(pieces())).prop_map(|(flags, first, other)| {
        let other = other.map(|other| format!("|/{other}")).unwrap_or_default();
        format!("~/{flags}{first}{other}")
    });
    whole.prop_filter("it compiles", |path| Regex::new(&format!("^{}", &path[1..])).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// More routes on one host than are tried one by one, so that they are filed under their beginnings.
    #[test]
    fn regexes_are_found_wherever_they_are_filed(
        regexes in vec(any_regex(), 5..12),
        requests in vec("/[av/bAé]{0,6}", 1..20),
    ) {
        let of_path = |(id, path): (usize, &String)| route(id as u128 + 1, |route| route.paths = vec![path.clone()]);
        let mut routes: Vec<RouteSpec> = regexes.iter().enumerate().map(of_path).collect();
        routes.push(route(999, |route| route.paths = vec!["/".into()]));
        let router = Router::compile(routes.iter().map(|route| (route.clone(), route.id))).unwrap();
        let headers = HeaderMap::new();
        for path in &requests {
            let query =
                Query { method: "GET", https: false, host: Some("a.com"), port: None, path, headers: &headers, sni: None };
            let found = router.find(&query).map(|found| (*found.value, found.path));
            prop_assert_eq!(found, reference(&routes, &query), "{:?}", regexes);
        }
    }
}

fn route(id: u128, change: impl FnOnce(&mut RouteSpec)) -> RouteSpec {
    let mut route = RouteSpec { id: Uuid::from_u128(id), ..RouteSpec::default() };
    change(&mut route);
    route
}

fn found(routes: Vec<RouteSpec>, host: &str, path: &str) -> Option<(u128, MatchedPath)> {
    let router = Router::compile(routes.into_iter().map(|route| (route.clone(), route.id.as_u128()))).unwrap();
    let headers = HeaderMap::new();
    let query =
        Query { method: "GET", https: false, host: Some(host), port: Some(80), path, headers: &headers, sni: None };
    router.find(&query).map(|found| (*found.value, found.path))
}

#[test]
fn each_step_of_the_order_decides_before_the_next() {
    let hosts = |host: &'static str| move |route: &mut RouteSpec| route.hosts = vec![host.into()];
    let paths = |path: &'static str| move |route: &mut RouteSpec| route.paths = vec![path.into()];
    // More kinds of criteria beat a plain host.
    let more = route(1, |r| (r.hosts, r.paths) = (vec!["a.*".into()], vec!["/".into()]));
    assert_eq!(found(vec![more, route(2, hosts("a.com"))], "a.com", "/x"), Some((1, MatchedPath::Prefix(1))));
    // A plain host beats a wildcard.
    let rivals = vec![route(1, hosts("a.com")), route(2, hosts("a.*"))];
    assert_eq!(found(rivals, "a.com", "/"), Some((1, MatchedPath::None)));
    // A regex beats a prefix however long, and regex_priority decides between regexes.
    let rivals = vec![route(1, paths("~/a")), route(2, paths("/api/v1"))];
    assert_eq!(found(rivals, "a.com", "/api/v1"), Some((1, MatchedPath::Regex { len: 2 })));
    let rivals = vec![
        route(1, |r| (r.paths, r.regex_priority) = (vec!["~/a".into()], 1)),
        route(2, paths("~/api")),
        route(3, |r| (r.paths, r.regex_priority) = (vec!["~/api".into()], -1)),
    ];
    assert_eq!(found(rivals, "a.com", "/api"), Some((1, MatchedPath::Regex { len: 2 })));
    // The longer prefix, then the larger id.
    let rivals = vec![route(1, paths("/api")), route(2, paths("/a"))];
    assert_eq!(found(rivals, "a.com", "/api"), Some((1, MatchedPath::Prefix(4))));
    let rivals = vec![route(2, paths("/api")), route(1, paths("/api"))];
    assert_eq!(found(rivals, "a.com", "/api"), Some((2, MatchedPath::Prefix(4))));
}

#[test]
fn a_route_with_several_paths_ranks_by_the_one_that_matches() {
    let several = route(1, |r| r.paths = vec!["/very/long/path".into(), "/a".into()]);
    let middling = route(2, |r| r.paths = vec!["/api".into()]);
    assert_eq!(found(vec![several, middling], "a.com", "/api"), Some((2, MatchedPath::Prefix(4))));
}

#[test]
fn a_bad_regex_is_named_with_its_route() {
    let bad = route(0xab, |r| r.paths = vec!["~/(".into()]);
    let error = Router::compile([(bad, ())]).unwrap_err();
    let expected = "route 00000000-0000-0000-0000-0000000000ab: the path '~/(' is not a valid regex";
    assert_eq!(error.to_string(), expected);
    let bad = route(0xab, |r| r.headers = BTreeMap::from([("x-a".into(), vec!["~*[".into()])]));
    let error = Router::compile([(bad, ())]).unwrap_err();
    let expected =
        "route 00000000-0000-0000-0000-0000000000ab: the value '~*[' of the header 'x-a' is not a valid regex";
    assert_eq!(error.to_string(), expected);
}
