//! Finding a route among 10, 1,000 and 10,000.
//!
//! Each set mixes routes by host and path, by wildcard host, by path only and by regex, and contains the smaller
//! sets.
//! - `same` requests the same 10 routes in each set: the cost of a larger table.
//! - `spread` requests routes across the whole set: the same plus memory latency.
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up should stop")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, header};
use tollgate_core::host::Host;
use tollgate_router::{Ports, Query, RouteSpec, Router, path};
use uuid::Uuid;

struct Sent {
    method: &'static str,
    host: String,
    path: String,
}

/// The nth route, and a request that matches it.
fn nth(n: usize) -> (RouteSpec, Sent) {
    let mut spec = RouteSpec { id: Uuid::from_u128(n as u128), ..RouteSpec::default() };
    let sent = match n % 5 {
        0 => {
            spec.hosts = vec![format!("api-{n}.example.com")];
            spec.paths = vec!["/v1".into(), "/v2/things".into()];
            Sent { method: "GET", host: format!("api-{n}.example.com"), path: "/v2/things/42".into() }
        }
        1 => {
            spec.hosts = vec![format!("*.tenant-{n}.example.org")];
            Sent { method: "POST", host: format!("shop.tenant-{n}.example.org"), path: "/orders/7/lines".into() }
        }
        2 => {
            spec.paths = vec![format!("/service-{n}/api")];
            Sent { method: "GET", host: "gateway.example.com".into(), path: format!("/service-{n}/api/items/17") }
        }
        3 => {
            spec.hosts = vec!["gateway.example.com".into()];
            spec.paths = vec![format!("/team-{n}/")];
            spec.methods = vec!["GET".into(), "PUT".into()];
            Sent { method: "PUT", host: "gateway.example.com".into(), path: format!("/team-{n}/reports/2024") }
        }
        _ => {
            spec.paths = vec![format!("~/users-{n}/[0-9]+/posts")];
            Sent { method: "GET", host: "gateway.example.com".into(), path: format!("/users-{n}/4711/posts") }
        }
    };
    (spec, sent)
}

fn find(criterion: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    for size in [10, 1_000, 10_000] {
        let (specs, all): (Vec<_>, Vec<_>) = (0..size).map(nth).unzip();
        let router =
            Router::compile(specs.into_iter().map(|spec| (spec.clone(), spec.id))).expect("the routes compile");
        for (name, asked) in [("same", 10), ("spread", size)] {
            // A step prime to every size visits all kinds and all parts of the set.
            let sent: Vec<&Sent> = (0..asked).filter_map(|k| all.get(k * 7919 % asked)).collect();
            let mut requests = sent.iter().cycle();
            criterion.bench_function(&format!("find/{name}/{size}"), |bencher| {
                bencher.iter(|| {
                    let sent = requests.next().expect("a cycle has no end");
                    let host = Host::parse(black_box(&sent.host)).expect("a host");
                    let query = Query {
                        method: sent.method,
                        https: false,
                        host: Some(&host),
                        ports: Ports::new(None, 80, 80),
                        path: &sent.path,
                        headers: &headers,
                        sni: None,
                    };
                    black_box(router.find(black_box(&query)).expect("every request has a route").value)
                });
            });
        }
    }
}

fn paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("normalise");
    for (name, path) in [("normal", "/service-1/api/items/17"), ("encoded", "/service-1/a%20b/../items//17")] {
        group.bench_function(name, |bencher| bencher.iter(|| path::normalise(black_box(path)).map(|p| p.len())));
    }
    group.finish();
}

criterion_group!(benches, find, paths);
criterion_main!(benches);
