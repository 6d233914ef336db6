//! Several plugins on a route: response phases, body limits, and consumer-scoped instances.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use tollgate::chain::{ChainEntry, ConsumerPlugins, Plugins};
use tollgate::plugin_choice::{Binding, Rank};
use tollgate_core::plugin::{Access, Handler, Needs, ResponsePhase, Verdict};
use tollgate_core::reply::{Reply, Response, Source};
use tollgate_core::request::{HeaderEdit, Identity, Request, RequestBody};
use uuid::Uuid;

use super::{Gateway, Route, body_of, guard, header_of, refused, replying, saying, status_of, upstream};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn entry(name: &'static str, priority: i32, handler: Arc<dyn Handler>) -> ChainEntry {
    ChainEntry::new(name, priority, Rank::Global, handler)
}

fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

/// Lets every request pass, and adds two headers to the response.
fn labelling() -> Arc<dyn Handler> {
    guard(|request| {
        let (name, value) = header("x-label", "said early");
        request.response.push(HeaderEdit::Set(name, value));
        let (name, value) = header("vary", "Origin");
        request.response.push(HeaderEdit::Append(name, value));
        Verdict::Continue
    })
}

/// Records what it sees of responses in a header.
struct Looking;

impl Handler for Looking {
    fn needs(&self) -> Needs {
        Needs { response: ResponsePhase::Head, ..Needs::default() }
    }

    fn access<'a>(&'a self, _: &'a mut Request<'_>) -> Access<'a> {
        Access::Ready(Ok(Verdict::Continue))
    }

    fn response(&self, response: &mut Response<'_>) {
        let by = if response.source == Source::Upstream { "upstream" } else { "gateway" };
        let seen = format!("{} by the {by}", response.status.as_u16());
        let (name, _) = header("x-seen", "");
        response.edits.push(HeaderEdit::Set(name, HeaderValue::try_from(seen).unwrap()));
    }
}

#[test]
fn a_plugins_response_headers_are_on_every_response() {
    let refusing = || replying(|| Reply::message(StatusCode::UNAUTHORIZED, "refused", "no"));
    let route = |path: &str, to: &str, more: Vec<ChainEntry>| {
        let all = [entry("label", 2000, labelling()), entry("look", 1, Arc::new(Looking))].into_iter().chain(more);
        Route::to(path, to).plugins(Plugins::new(all, None))
    };
    let with_vary = saying("HTTP/1.1 200 OK\r\nVary: Accept\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let gateway = Gateway::start(vec![
        route("/good", &with_vary, vec![]),
        // A plugin that replies does not keep later ones from seeing the response.
        route("/refused", &upstream(), vec![entry("refuse", 1000, refusing())]),
        route("/broken", &refused(), vec![]),
    ]);
    for (path, status, seen) in [
        ("/good", 200, "200 by the upstream"),
        ("/refused", 401, "401 by the gateway"),
        ("/broken", 502, "502 by the gateway"),
    ] {
        let response = gateway.send(&GET.replace("/x", path));
        assert_eq!(status_of(&response), status, "{response}");
        assert_eq!(header_of(&response, "x-label"), Some("said early"), "{response}");
        assert_eq!(header_of(&response, "x-seen"), Some(seen), "{response}");
        assert!(response.to_ascii_lowercase().contains("\r\nvary: origin\r\n"), "{response}");
    }
    let response = gateway.send(&GET.replace("/x", "/good")).to_ascii_lowercase();
    assert!(response.contains("\r\nvary: accept\r\n"), "the upstream's value stays: {response}");
}

#[test]
fn a_plugin_that_needs_more_of_the_body_gets_it_in_either_order() {
    struct Reading(usize);

    impl Handler for Reading {
        fn needs(&self) -> Needs {
            Needs { body_limit: self.0, ..Needs::default() }
        }

        fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
            Access::Ready(Ok(match &request.body {
                RequestBody::Unread => Verdict::NeedBody { limit: self.0, terminal: false },
                RequestBody::Read(body) if body.len() == 5000 => Verdict::Continue,
                _ => Verdict::Reply(Reply::message(StatusCode::IM_A_TEAPOT, "cut", "cut")),
            }))
        }
    }

    let both = [entry("small", 2, Arc::new(Reading(10))), entry("large", 1, Arc::new(Reading(60_000)))];
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugins(Plugins::new(both, None))]);
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n";
    let response = gateway.send(&format!("{head}{}", "x".repeat(5000)));
    assert_eq!(status_of(&response), 200, "{response}");
    assert!(body_of(&response).contains("\"body_length\":5000"), "{response}");
}

#[test]
fn a_consumers_instance_runs_only_for_that_consumer() {
    const BOB: Uuid = Uuid::from_u128(7);
    let authenticating = guard(|request| {
        let is_bob = request.headers.get("x-bob").is_some();
        let consumer = if is_bob { BOB } else { Uuid::nil() };
        request.identity = Some(Identity { consumer: Some(consumer), credential: None });
        Verdict::Continue
    });
    let telling = |value: &'static str| {
        guard(move |request| {
            let (name, value) = header("x-limit", value);
            request.response.push(HeaderEdit::Set(name, value));
            Verdict::Continue
        })
    };
    let binding = Binding { route: None, service: None, consumer: Some(BOB) };
    let of_bob = ChainEntry::new("limit", 900, binding.rank(), telling("of bob"));
    let mut consumers = ConsumerPlugins::default();
    consumers.add(BOB, "limit", binding, Some(of_bob));
    let everybody = [entry("authenticate", 1400, authenticating), entry("limit", 900, telling("of everybody"))];
    let plugins = Plugins::new(everybody, consumers.shared());
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugins(plugins)]);
    let of_anybody = gateway.send(GET);
    assert_eq!(header_of(&of_anybody, "x-limit"), Some("of everybody"), "{of_anybody}");
    let of_bob = gateway.send(&GET.replace("Host: a", "Host: a\r\nX-Bob: 1"));
    assert_eq!(header_of(&of_bob, "x-limit"), Some("of bob"), "{of_bob}");
}
