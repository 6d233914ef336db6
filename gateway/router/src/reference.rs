//! Tests the router against a literal implementation of the rules, which compares every route with every
//! request.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv6Addr;

use crate::{MatchedPath, Ports, Query, RouteSpec, Router};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use regex::Regex;
use tollgate_core::host::{Authority, Host};
use uuid::Uuid;

/// The priority (gateway.md §6) as one 64-bit number, then the id.
type Key = (u64, Uuid);

/// A request, with hosts as a client spells them.
#[derive(Debug, Clone)]
struct Sent {
    method: &'static str,
    https: bool,
    authority: Option<String>,
    path: String,
    headers: HeaderMap,
    sni: Option<String>,
}

const LISTENER: u16 = 8000;

impl Sent {
    fn find<T: Clone>(&self, router: &Router<T>) -> Option<(T, MatchedPath)> {
        let authority = self.authority.as_deref().map(|text| Authority::parse(text).unwrap());
        let sni = self.sni.as_deref().map(|sni| Host::parse(sni).unwrap());
        let query = Query {
            method: self.method,
            https: self.https,
            host: authority.as_ref().map(|authority| &authority.host),
            ports: Ports::new(authority.as_ref().and_then(|authority| authority.port), self.own_port(), LISTENER),
            path: &self.path,
            headers: &self.headers,
            sni: sni.as_ref(),
        };
        router.find(&query).map(|found| (found.value.clone(), found.path))
    }

    fn own_port(&self) -> u16 {
        if self.https { 443 } else { 80 }
    }
}

/// The result of applying the rules one by one to a request.
fn reference(routes: &[RouteSpec], query: &Sent) -> Option<(Uuid, MatchedPath)> {
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

fn group_matches(route: &RouteSpec, paths: &[&String], query: &Sent) -> Option<MatchedPath> {
    let method = route.methods.is_empty() || route.methods.iter().any(|method| method == query.method);
    let host = route.hosts.is_empty() || route.hosts.iter().any(|host| host_matches(host, query));
    let sni = route.snis.is_empty()
        || !query.https
        || query.sni.as_ref().is_some_and(|sni| route.snis.iter().any(|pattern| name_matches(pattern, sni)));
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
            let len = regex(&format!("^{pattern}")).find(&query.path)?.len();
            Some(MatchedPath::Regex { len })
        }
        None => query.path.starts_with(path.as_str()).then_some(MatchedPath::Prefix(path.len())),
    })
}

/// Regexes compile slowly in a test build, and there are few patterns.
fn regex(pattern: &str) -> Regex {
    thread_local!(static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default());
    COMPILED.with_borrow_mut(|compiled| {
        compiled.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap()).clone()
    })
}

fn host_matches(pattern: &str, query: &Sent) -> bool {
    let (name, port) = split(pattern);
    let Some((host, asked)) = query.authority.as_deref().map(split) else { return false };
    let ports = match asked {
        Some(port) if port != query.own_port() => vec![port],
        _ => vec![LISTENER, query.own_port()],
    };
    name_matches(name, host) && port.is_none_or(|port| ports.contains(&port))
}

fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, if port.is_empty() { None } else { port.parse().ok() }),
        _ => (authority, None),
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    let address = |text: &str| text.trim_matches(['[', ']']).parse::<Ipv6Addr>().ok();
    if let (Some(pattern), Some(name)) = (address(pattern), address(name)) {
        return pattern == name;
    }
    let (pattern, name) = (pattern.to_lowercase(), name.trim_end_matches('.').to_lowercase());
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => name.ends_with(suffix),
        (_, Some(prefix)) => name.starts_with(prefix),
        _ => name == pattern,
    }
}

const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const HOSTS: [&str; 14] = [
    "a.com",
    "B.com",
    "x.A.com",
    "*.a.com",
    "*.Com",
    "a.*",
    "X.a.*",
    "a.com:8000",
    "*.a.com:8443",
    "a.com:80",
    "[0::1]",
    "[::1]:8000",
    "127.0.0.1",
    "A.com:443",
];
const ASKED: [&str; 18] = [
    "a.com",
    "A.COM",
    "a.com.",
    "b.com",
    "x.a.com",
    "X.A.com.",
    "y.x.a.com",
    "a.org",
    "a.com:8000",
    "A.com.:08000",
    "a.com:80",
    "a.com:",
    "a.com:443",
    "x.a.com:8443",
    "[::1]",
    "[0:0::1]:8000",
    "127.0.0.1.",
    "c.org:1",
];
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
const SNIS: [&str; 3] = ["a.com", "*.A.com", "a.*"];
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
    fn the_router_agrees_with_the_literal_rules(
        routes in vec(any_route(), 0..32),
        requests in vec((
            select(&METHODS[..]),
            any::<bool>(),
            proptest::option::of(select(&ASKED[..])),
            select(&SENT_PATHS[..]),
            vec((select(&HEADERS[..]), select(&["1", "two", "TWO", "x"][..])), 0..3),
            proptest::option::of(select(&["a.com", "X.a.com", "b.com"][..])),
        ), 1..40),
    ) {
        let criteria = |route: &RouteSpec| {
            !(route.methods.is_empty() && route.hosts.is_empty() && route.paths.is_empty()
                && route.headers.is_empty() && route.snis.is_empty())
        };
        let routes: Vec<RouteSpec> = routes.into_iter().filter(criteria).collect();
        let router = Router::compile(routes.iter().map(|route| (route.clone(), route.id))).unwrap();
        for (method, https, authority, path, sent, sni) in requests {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let (authority, sni) = (authority.map(String::from), sni.map(String::from));
            let sent = Sent { method, https, authority, path: path.to_owned(), headers, sni };
            prop_assert_eq!(sent.find(&router), reference(&routes, &sent), "{:?}", sent);
        }
    }

    #[test]
    fn the_router_agrees_with_the_rules_on_any_regular_expression(
        paths in vec(prop_oneof![3 => any_pattern(), 1 => "/[abv/]{0,3}"], 5..16),
        asked in vec("/[abv/]{0,5}", 16..64),
    ) {
        let with_id = |(id, path): (usize, &String)| route(id as u128 + 1, |route| route.paths = vec![path.clone()]);
        let mut routes: Vec<RouteSpec> = paths.iter().enumerate().map(with_id).collect();
        routes.push(route(0, |route| route.paths = vec!["/".into()]));
        let router = Router::compile(routes.iter().map(|route| (route.clone(), route.id))).unwrap();
        for path in asked {
            let sent = Sent { method: "GET", https: false, authority: None, path, headers: HeaderMap::new(), sni: None };
            prop_assert_eq!(sent.find(&router), reference(&routes, &sent), "{:?} of {:?}", sent.path, paths);
        }
    }
}

/// Patterns whose start is optional, repeated, an alternative, or case-insensitive.
fn any_pattern() -> impl Strategy<Value = String> {
    let leaf = select(&["a", "b", "v", "/", "[ab]", "[^a]", ".", "$", "^", "", r"\b", r"\x61", r"\/"][..]);
    let times = select(&["*", "+", "?", "{0,}", "{0,2}", "{2}", "{0}", "*?", "+*", "+?", "??"][..]);
    let expression = leaf.prop_map(String::from).prop_recursive(4, 16, 3, move |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|parts| parts.concat()),
            (inner.clone(), times.clone()).prop_map(|(part, times)| format!("(?:{part}){times}")),
            (inner.clone(), select(&["(", "(?:", "(?i:", "(?s-u:", "(?<n>", "(?U:"][..]))
                .prop_map(|(part, open)| format!("{open}{part})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("{one}|{other}")),
            (select(&["a", "v", "/"][..]), times.clone()).prop_map(|(part, times)| format!("{part}{times}")),
            inner.prop_map(|part| format!("(?i){part}")),
        ]
    });
    let repeated = select(&["", "", "*", "?", "+", "+*", "+?", "+{0,}", "??", "{2}", "{0,1}+", "+{2}*"][..]);
    let word = vec((select(&["a", "b", "v", "/", "av"][..]), repeated), 1..4)
        .prop_map(|parts| parts.into_iter().map(|(part, times)| format!("{part}{times}")).collect::<String>());
    prop_oneof![expression, word]
        .prop_map(|expression| format!("~/{expression}"))
        .prop_filter("no pattern", |path| Regex::new(&path.replacen('~', "^", 1)).is_ok())
}

fn route(id: u128, change: impl FnOnce(&mut RouteSpec)) -> RouteSpec {
    let mut route = RouteSpec { id: Uuid::from_u128(id), ..RouteSpec::default() };
    change(&mut route);
    route
}

fn found(routes: Vec<RouteSpec>, host: &str, path: &str) -> Option<(u128, MatchedPath)> {
    let router = Router::compile(routes.into_iter().map(|route| (route.clone(), route.id.as_u128()))).unwrap();
    let (authority, headers) = (Some(host.to_owned()), HeaderMap::new());
    Sent { method: "GET", https: false, authority, path: path.to_owned(), headers, sni: None }.find(&router)
}

#[test]
fn each_step_of_the_order_decides_before_the_next() {
    let hosts = |host: &'static str| move |route: &mut RouteSpec| route.hosts = vec![host.into()];
    let paths = |path: &'static str| move |route: &mut RouteSpec| route.paths = vec![path.into()];
    // More kinds of criteria take precedence over a plain host.
    let more = route(1, |r| (r.hosts, r.paths) = (vec!["a.*".into()], vec!["/".into()]));
    assert_eq!(found(vec![more, route(2, hosts("a.com"))], "a.com", "/x"), Some((1, MatchedPath::Prefix(1))));
    // A plain host takes precedence over a wildcard.
    let rivals = vec![route(1, hosts("a.com")), route(2, hosts("a.*"))];
    assert_eq!(found(rivals, "a.com", "/"), Some((1, MatchedPath::None)));
    // A regex takes precedence over a prefix of any length, and regex_priority decides between regexes.
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
fn a_repetition_that_may_be_empty_protects_what_it_matches() {
    let paths = |path: &'static str| move |route: &mut RouteSpec| route.paths = vec![path.into()];
    let others = ["/", "/b", "/c", "/d", "/e"].into_iter().zip(1..).map(|(path, id)| route(id, paths(path)));
    for pattern in ["~/admin/v+*", "~/admin/v??", "~/admin/(v|)", "~/(?i)ADMIN/", "~/x|/admin/", "~/x?admin/"] {
        let protected = route(9, paths(pattern));
        let found = found(others.clone().chain([protected]).collect(), "a.com", "/admin/users");
        assert_eq!(found.map(|(id, _)| id), Some(9), "{pattern}");
    }
}

#[test]
fn a_route_with_several_paths_ranks_by_the_path_that_matches() {
    let several = route(1, |r| r.paths = vec!["/very/long/path".into(), "/a".into()]);
    let middling = route(2, |r| r.paths = vec!["/api".into()]);
    assert_eq!(found(vec![several, middling], "a.com", "/api"), Some((2, MatchedPath::Prefix(4))));
}

#[test]
fn an_invalid_regex_is_reported_with_its_route() {
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
