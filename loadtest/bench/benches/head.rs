//! Rendering the upstream request head with the gateway's headers.
//!
//! - `map`: the gateway's headers are added to Pingora's map, which is then written.
//! - `lines`: the gateway's way: its headers are written as lines after the map.
//! - `block`: a credential's headers, rendered when the credential is loaded.
//!
//! `map` and `lines` start with a copy of the client's head and end with the bytes on the wire.
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up should stop")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use tollgate::proxy::head::{Edited, Field, Head as _};
use tollgate_core::request::{BlockName, HeaderBlock};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Headers about the request and this hop, for a request directly from a client.
const OF_THE_HOP: [(Field, &str, &str); 9] = [
    (Field::new("x-forwarded-for", "X-Forwarded-For"), "x-forwarded-for", "192.0.2.17"),
    (Field::new("x-forwarded-proto", "X-Forwarded-Proto"), "x-forwarded-proto", "https"),
    (Field::new("x-forwarded-host", "X-Forwarded-Host"), "x-forwarded-host", "api.example.com"),
    (Field::new("x-forwarded-port", "X-Forwarded-Port"), "x-forwarded-port", "443"),
    (Field::new("x-forwarded-path", "X-Forwarded-Path"), "x-forwarded-path", "/orders/17"),
    (Field::new("x-real-ip", "X-Real-IP"), "x-real-ip", "192.0.2.17"),
    (Field::new("via", "Via"), "via", "1.1 tollgate"),
    (Field::new("x-kong-request-id", "X-Kong-Request-Id"), "x-kong-request-id", "00112233445566778899aabbccddeeff"),
    (Field::new("connection", "Connection"), "connection", "keep-alive"),
];

static IDENTITY: [BlockName; 3] = [
    BlockName::new("x-consumer-id", "X-Consumer-ID"),
    BlockName::new("x-consumer-username", "X-Consumer-Username"),
    BlockName::new("x-credential-identifier", "X-Credential-Identifier"),
];
const VALUES: [&str; 3] = ["3f2b1c4d-9a8e-4b7c-8d6f-0123456789ab", "person-17", "client-17"];

fn client_head() -> RequestHeader {
    let mut head = RequestHeader::build("GET", b"/orders/17", None).expect("the target is one");
    for (name, value) in [
        ("Host", "api.example.com"),
        ("User-Agent", "bench/1.0"),
        ("Accept", "application/json"),
        ("Authorization", "Bearer 0123456789abcdefghijklmnopqrstuv"),
    ] {
        head.append_header(name, value).expect("the header is one");
    }
    head
}

fn by_map(client: &RequestHeader, wire: &mut Vec<u8>) {
    let mut head = client.clone();
    for (_, name, value) in &OF_THE_HOP {
        head.insert_header(*name, *value).expect("the header is one");
    }
    for (name, value) in ["x-consumer-id", "x-consumer-username", "x-credential-identifier"].into_iter().zip(VALUES) {
        head.insert_header(HeaderName::from_static(name), HeaderValue::from_static(value)).expect("the header is one");
    }
    wire.clear();
    head.header_to_h1_wire(wire);
}

fn by_lines(client: &RequestHeader, identity: &HeaderBlock, wire: &mut Vec<u8>) {
    let mut head = client.clone();
    let mut edited = Edited::new(&mut head, 768);
    for (field, _, value) in &OF_THE_HOP {
        edited.set(field, value.as_bytes());
    }
    edited.apply(identity);
    wire.clear();
    head.header_to_h1_wire(wire);
}

fn identity() -> HeaderBlock {
    let [id, username, client_id] = VALUES.map(HeaderValue::from_static);
    HeaderBlock::new(&IDENTITY, [Some(&id), Some(&username), Some(&client_id)])
}

fn benches(criterion: &mut Criterion) {
    let (client, identity_block) = (client_head(), identity());
    let (mut map, mut lines) = (Vec::new(), Vec::new());
    by_map(&client, &mut map);
    by_lines(&client, &identity_block, &mut lines);
    let sorted = |wire: &[u8]| {
        let text = String::from_utf8_lossy(wire).to_lowercase();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&map), sorted(&lines), "both ways say the same");

    let mut group = criterion.benchmark_group("head");
    group.bench_function("map", |bencher| bencher.iter(|| by_map(black_box(&client), &mut map)));
    group.bench_function("lines", |bencher| bencher.iter(|| by_lines(black_box(&client), &identity_block, &mut lines)));
    group.bench_function("block", |bencher| bencher.iter(identity));
    group.finish();
}

criterion_group!(head_benches, benches);
criterion_main!(head_benches);
