//! The corpus of frames (`tests/corpus/http2`): what a stream of HTTP/2 becomes for an HTTP/1 upstream.
//!
//! A case has a name (`=`), how its stream ends (`!`, as `tollgate_tests::http2::outcome` tells it), the requests that
//! reach the upstream (`>`), and frames (`|`): `HEADERS` and its fields, `DATA` and its bytes, `FRAME TYPE FLAGS STREAM
//! PAYLOAD` in hexadecimal.

use std::net::SocketAddr;

use tollgate_tests::http2::{END_STREAM, Frame, Frames, kind, outcome};
use tollgate_tests::web_server::{Kind, WebServer};
use tollgate_tests::{Findings, Recorder, corpus};

use super::{echo, gateway, line};

struct Case {
    name: String,
    outcome: String,
    requests: Vec<String>,
    pieces: Vec<Piece>,
}

enum Piece {
    Headers { fields: Vec<(Vec<u8>, Vec<u8>)>, end: bool },
    Frame(Frame),
}

fn cases() -> Vec<Case> {
    let cases: Vec<_> = corpus::blocks("http2").iter().map(|(file, block)| case(file, block)).collect();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    cases
}

fn case(file: &str, block: &str) -> Case {
    let mut case = Case { name: String::new(), outcome: String::new(), requests: Vec::new(), pieces: Vec::new() };
    for line in block.lines() {
        let (kind, text) = line.split_once(' ').expect("a kind and a text");
        match kind {
            "=" => case.name = format!("{file}: {text}"),
            "!" => case.outcome = text.to_owned(),
            ">" => case.requests.push(text.to_owned()),
            "|" => match (text.strip_prefix("  "), case.pieces.last_mut()) {
                (Some(field), Some(Piece::Headers { fields, .. })) => {
                    let (name, value) = field.split_once(" =").expect("a name and a value");
                    fields.push((corpus::unescape(name), corpus::unescape(value.strip_prefix(' ').unwrap_or(value))));
                }
                _ => case.pieces.push(piece(text)),
            },
            _ => panic!("{file}: {line:?} does not begin with one of = ! > |"),
        }
    }
    case
}

fn piece(text: &str) -> Piece {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (end, rest) = rest.strip_prefix("END_STREAM").map_or((false, rest), |rest| (true, rest.trim_start()));
    let flags = if end { END_STREAM } else { 0 };
    match kind {
        "HEADERS" => Piece::Headers { fields: Vec::new(), end },
        "DATA" => Piece::Frame(Frame { kind: kind::DATA, flags, stream: 1, payload: corpus::unescape(rest) }),
        "FRAME" => {
            let words: Vec<_> = rest.split(' ').collect();
            let [kind, flags, stream, payload] = words.as_slice() else { panic!("a frame has four parts: {text}") };
            let payload = (0..payload.len()).step_by(2);
            let payload = payload.map(|at| u8::from_str_radix(&words[3][at..at + 2], 16).unwrap()).collect();
            Piece::Frame(Frame {
                kind: kind.parse().unwrap(),
                flags: flags.parse().unwrap(),
                stream: stream.parse().unwrap(),
                payload,
            })
        }
        _ => panic!("unknown frame: {text}"),
    }
}

const NEXT: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/next")];

/// Cases on one connection: the gateway closes it when many of its streams are malformed.
const PER_CONNECTION: u32 = 8;

/// A connection until it is closed.
struct Client {
    address: SocketAddr,
    open: Option<(Frames, u32)>,
}

impl Client {
    /// How the stream of a case ended, and then the next one, if there can be one.
    async fn converse(&mut self, case: &Case) -> (String, Option<String>) {
        let (mut frames, stream) = match self.open.take() {
            Some(open) => open,
            None => (Frames::open(self.address).await, 1),
        };
        for piece in &case.pieces {
            match piece {
                Piece::Headers { fields, end } => frames.headers(stream, fields, *end).await,
                Piece::Frame(frame) => {
                    // In the corpus, it is the first stream.
                    let stream = if frame.stream == 1 { stream } else { frame.stream };
                    frames.send(&Frame { stream, ..frame.clone() }).await;
                }
            }
        }
        let first = outcome(&frames.until_end(stream).await);
        if first.contains("GOAWAY") {
            return (first, None);
        }
        frames.headers(stream + 2, &NEXT, true).await;
        let second = outcome(&frames.until_end(stream + 2).await);
        if stream < 4 * PER_CONNECTION {
            self.open = Some((frames, stream + 4));
        }
        (first, Some(second))
    }
}

/// Sends the whole corpus through a gateway in front of `server`, behind which is `upstream`, if it is another one.
async fn run(server: &str, url: &str, upstream: Option<&Recorder>) {
    let gateway = gateway(url).await;
    let mut client = Client { address: gateway.https, open: None };
    let mut findings = Findings::new();
    let mut reached = Vec::new();
    for case in cases() {
        let row = format!("{} ({server})", case.name);
        let (outcome, next) = client.converse(&case).await;
        findings.compare(&row, &case.outcome, &outcome);
        findings.check(
            &row,
            match next.as_deref() {
                None | Some("200 DATA") => Ok(()),
                Some(other) => Err(format!("the next stream ended with {other}")),
            },
        );
        reached.extend(case.requests);
        reached.extend(next.map(|_| "GET /next".to_owned()));
        if let Some(upstream) = upstream {
            let requests: Vec<_> = upstream.requests().iter().map(line).collect();
            findings.compare(&format!("{row}: requests"), &reached, &requests);
            reached = requests;
        }
    }
    if upstream.is_none() {
        let seen = gateway.send(gateway.client.get(gateway.plain_url("/seen"))).await.expect(200).body;
        findings.compare("all requests", &reached.join("\n"), &seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_become_one_request_or_none_for_the_upstream() {
    let upstream = echo().await;
    run("upstream", &upstream.url(), Some(&upstream)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_become_one_request_or_none_for_a_second_gateway() {
    let upstream = echo().await;
    let second = gateway(&upstream.url()).await;
    run("tollgate", &format!("http://{}", second.http), Some(&upstream)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_become_one_request_or_none_for_nginx_and_haproxy() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let upstream = echo().await;
        let proxy = WebServer::start(kind, upstream.address());
        run(kind.name(), &proxy.url(), Some(&upstream)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_become_one_request_or_none_for_node() {
    let server = WebServer::start(Kind::Node, ([127, 0, 0, 1], 0).into());
    run(Kind::Node.name(), &server.url(), None).await;
}
