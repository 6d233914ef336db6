//! Where requests end: a corpus of messages (`tests/corpus/http1`), sent to the gateway byte for byte; frames are in
//! [`http2`].
//!
//! What is ambiguous is refused before any plugin runs and before the upstream gets a byte of it. For what goes on,
//! the gateway and the server behind it agree where each request ends: another gateway, nginx, HAProxy, Node. A request
//! that follows each message shows whether they do.

mod http2;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_tests::corpus::{self, Case, End};
use tollgate_tests::recorder::{Received, ScriptedResponse, When};
use tollgate_tests::web_server::{Kind, WebServer};
use tollgate_tests::{Findings, Gateway, Recorder, Store};

/// Sent behind each message.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// The server behind the gateway, if nothing is between them.
const UPSTREAM: &str = "upstream";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    AtOnce,
    ByteByByte,
}

/// Status and body of each response.
type Responses = Vec<(u16, String)>;

/// Sends a case and what follows it, and reads until the connection is closed.
async fn converse(address: SocketAddr, case: &Case, pace: Pace) -> Responses {
    let talk = async {
        let stream = TcpStream::connect(address).await.expect("a listening gateway");
        stream.set_nodelay(true).unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let mut bytes = case.bytes.clone();
        if case.end != End::Incomplete {
            bytes.extend_from_slice(NEXT);
        }
        let write = async move {
            let length = if pace == Pace::AtOnce { bytes.len() } else { 1 };
            for piece in bytes.chunks(length) {
                if writer.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if case.end == End::Incomplete {
                let _ = writer.shutdown().await;
            }
            writer
        };
        let read = async {
            let mut all = Vec::new();
            // A reset after the response counts as its end.
            let _ = reader.read_to_end(&mut all).await;
            all
        };
        tokio::join!(write, read).1
    };
    let bytes = tokio::time::timeout(Duration::from_secs(20), talk).await;
    let bytes = bytes.unwrap_or_else(|_| panic!("{}: the connection stays open", case.name));
    split(&String::from_utf8_lossy(&bytes), &case.requests)
}

/// Responses are read with the lengths that they declare; those to HEAD have no body.
fn split(mut text: &str, requests: &[String]) -> Responses {
    let mut responses = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        text = rest;
        if status == 100 {
            continue;
        }
        let is_head = requests.get(responses.len()).is_some_and(|request| request.starts_with("HEAD "));
        let (body, rest) = if is_head { (String::new(), rest) } else { body(head, rest) };
        text = rest;
        responses.push((status, body.trim_end().to_owned()));
    }
    responses
}

fn body<'r>(head: &str, text: &'r str) -> (String, &'r str) {
    let field = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1.trim())
    };
    if field("transfer-encoding").is_some() {
        let (coded, rest) = text.split_once("0\r\n\r\n").unwrap_or((text, ""));
        let data = coded.split("\r\n").skip(1).step_by(2).collect();
        return (data, rest);
    }
    let length = field("content-length").map_or(0, |length| length.parse().unwrap()).min(text.len());
    (text[..length].to_owned(), &text[length..])
}

fn expected(case: &Case, server: &str) -> (Responses, Vec<String>) {
    let refused = case.refused_by.iter().find(|refusal| refusal.0 == server).map(|refusal| refusal.1);
    let mut responses: Responses = match refused {
        Some(status) => case.requests.iter().map(|_| (status, String::new())).collect(),
        None => case
            .requests
            .iter()
            .map(|line| (200, if line.starts_with("HEAD") { "" } else { line }.to_owned()))
            .collect(),
    };
    let mut reached = if refused.is_some() { Vec::new() } else { case.requests.clone() };
    match case.end {
        End::Next => {
            responses.push((200, "GET /next".to_owned()));
            reached.push("GET /next".to_owned());
        }
        End::Closed | End::Incomplete => {}
        End::Refused(status) => responses.push((status, String::new())),
    }
    (responses, reached)
}

/// What the client got, without the texts of refusals. Whoever disconnects within a message may get one or none.
fn received(case: &Case, mut responses: Responses) -> Responses {
    responses.iter_mut().filter(|response| response.0 != 200).for_each(|response| response.1.clear());
    if case.end == End::Incomplete {
        responses.retain(|response| response.0 != 400);
    }
    responses
}

/// An upstream that responds with what it got.
async fn echo() -> Recorder {
    Recorder::start(When::Complete, |request: &Received| {
        let text = line(request);
        match request.head.starts_with("HEAD ") {
            true => ScriptedResponse::keep(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len())),
            false => ScriptedResponse::ok(&text),
        }
    })
    .await
}

fn line(request: &Received) -> String {
    format!("{} {}", request.line(), request.body).trim_end().to_owned()
}

/// A gateway whose only service is at `url`. With one thread, it uses one connection to it for everything.
async fn gateway(url: &str) -> Gateway {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_THREADS", "1")]).await;
    gateway.create("/services", json!({"name": "next", "url": url, "retries": 0})).await;
    gateway.create("/services/next/routes", json!({"paths": ["/"], "strip_path": false, "preserve_host": true})).await;
    gateway
}

/// Sends the whole corpus through `gateway` to the server called `server`, behind which is `upstream`.
async fn run(gateway: &Gateway, cases: &[Case], server: &str, upstream: &Recorder, pace: Pace) {
    let mut findings = Findings::new();
    for case in cases {
        let (before, bytes) = (upstream.requests().len(), upstream.bytes().concat().len());
        let mut responses = converse(gateway.http, case, pace).await;
        if pace == Pace::ByteByByte && case.end == End::Refused(505) {
            // Half of a version may be no version yet.
            responses.iter_mut().filter(|response| response.0 == 400).for_each(|response| response.0 = 505);
        }
        let requests: Vec<_> = upstream.requests()[before..].iter().map(line).collect();
        let row = format!("{} ({server}, {pace:?})", case.name);
        findings.compare(&row, &expected(case, server), &(received(case, responses), requests));
        if server == UPSTREAM && pace == Pace::AtOnce && case.requests.is_empty() && matches!(case.end, End::Refused(_))
        {
            findings.compare(&format!("{row}: bytes sent"), &bytes, &upstream.bytes().concat().len());
        }
    }
}

fn cases() -> Vec<Case> {
    let cases = corpus::http1();
    assert!(cases.len() >= 300, "{} cases", cases.len());
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_and_its_upstream_agree_on_where_every_request_ends() {
    let upstream = echo().await;
    let gateway = gateway(&upstream.url()).await;
    for pace in [Pace::AtOnce, Pace::ByteByByte] {
        run(&gateway, &cases(), UPSTREAM, &upstream, pace).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_in_a_row_agree_on_where_every_request_ends() {
    let upstream = echo().await;
    let second = gateway(&upstream.url()).await;
    let first = gateway(&format!("http://{}", second.http)).await;
    run(&first, &cases(), "tollgate", &upstream, Pace::AtOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_and_nginx_agree_on_where_every_request_ends() {
    behind(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_and_haproxy_agree_on_where_every_request_ends() {
    behind(Kind::Haproxy).await;
}

async fn behind(kind: Kind) {
    let upstream = echo().await;
    let proxy = WebServer::start(kind, upstream.address());
    let gateway = gateway(&proxy.url()).await;
    run(&gateway, &cases(), kind.name(), &upstream, Pace::AtOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_and_node_agree_on_where_every_request_ends() {
    let server = WebServer::start(Kind::Node, ([127, 0, 0, 1], 0).into());
    let gateway = gateway(&server.url()).await;
    let mut findings = Findings::new();
    let mut reached = Vec::new();
    for case in cases() {
        let (responses, requests) = expected(&case, Kind::Node.name());
        findings.compare(&case.name, &responses, &received(&case, converse(gateway.http, &case, Pace::AtOnce).await));
        reached.extend(requests);
    }
    let seen = gateway.send(gateway.client.get(gateway.plain_url("/seen"))).await.expect(200).body;
    findings.compare("all requests", &reached.join("\n"), &seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_behind_an_invalid_chunk_reaches_an_upstream_that_responds_early() {
    let upstream = Recorder::start(When::Head, |_: &Received| ScriptedResponse::ok("early")).await;
    let gateway = gateway(&upstream.url()).await;
    let chunked = |case: &Case| {
        case.requests.is_empty()
            && case.bytes.windows(9).any(|window| window == b": chunked")
            && case.end == End::Refused(400)
    };
    let mut findings = Findings::new();
    for case in cases().iter().filter(|case| chunked(case)) {
        let responses = converse(gateway.http, case, Pace::ByteByByte).await;
        let statuses: Vec<_> = responses.iter().map(|response| response.0).collect();
        findings.check(
            &case.name,
            match statuses.as_slice() {
                [200 | 400] | [] => Ok(()),
                others => Err(format!("{others:?}")),
            },
        );
        let sent = upstream.bytes().concat();
        let leaked = ["GET ", "junk"].iter().find(|text| sent.contains(*text));
        findings.compare(&case.name, &None, &leaked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ambiguous_is_refused_before_any_plugin_runs() {
    let upstream = echo().await;
    let gateway = gateway(&upstream.url()).await;
    gateway.create("/services/next/plugins", json!({"name": "key-auth"})).await;
    let mut findings = Findings::new();
    for case in cases().iter().filter(|case| case.end != End::Incomplete) {
        let expected = match case.end {
            End::Refused(status) if case.requests.is_empty() => status,
            _ => 401,
        };
        let responses = converse(gateway.http, case, Pace::AtOnce).await;
        findings.compare(&case.name, &Some(expected), &responses.first().map(|response| response.0));
    }
    findings.compare("upstream", &Vec::<Received>::new(), &upstream.requests());
}
