//! HTTP/1.1 from clients, byte by byte: pipelining, targets, refused heads, chunks, expectations.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use tollgate_core::plugin::Verdict;
use tollgate_core::reply::Reply;
use tollgate_core::request::RequestBody;

use crate::gateway::{
    Gateway, Route, body_of, guard, header_of, held, mirror, replying, status_of, streaming, upstream,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn refusing() -> Route {
    let reply = || Reply::json(StatusCode::UNAUTHORIZED, "no_token", &json!({"error": "x"}));
    Route::to("/", &upstream()).plugin(replying(reply))
}

fn targets(responses: impl Iterator<Item = String>) -> Vec<String> {
    responses
        .map(|response| {
            let received: serde_json::Value = serde_json::from_str(body_of(&response)).unwrap();
            format!("{} {}", received["target"].as_str().unwrap(), received["body"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn pipelined_requests_get_a_response_each_and_in_order() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let mut client = gateway.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n\
         GET /3 HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\n\
         POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n\
         HEAD /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
         GET /6 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let responses: Vec<_> = (0..4).map(|_| client.response().unwrap()).collect();
    assert_eq!(targets(responses.into_iter()), ["/1 ", "/2 abc", "/3 ", "/4 abc"]);
    let mut rest = String::new();
    client.rest(&mut rest);
    // Nothing is served after a request that is declared as the last.
    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 1, "{rest}");
    assert!(rest.ends_with("\r\n\r\n"), "{rest}");
    let lines = gateway.log_lines(5);
    let paths: Vec<_> = lines.iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths, ["/1", "/2", "/3", "/4", "/5"]);
}

#[test]
fn any_number_of_requests_may_be_pipelined() {
    for route in [Route::to("/", &upstream()), refusing()] {
        let gateway = Gateway::start(vec![route]);
        let mut client = gateway.client();
        let padding = "x".repeat(300);
        let all: String = (0..100)
            .map(|n| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nX: {padding}\r\nContent-Length: 3\r\n\r\nabc"))
            .collect();
        client.send(all);
        for n in 0..100 {
            let response = client.response().unwrap();
            let right = response.contains(&format!("\"target\":\"/{n}\"")) || status_of(&response) == 401;
            assert!(right, "{n}: {response}");
        }
        assert_eq!(gateway.log_lines(100).len(), 100);
    }
}

#[test]
fn bytes_received_while_the_upstream_works_are_the_next_request() {
    let (address, requests) = held();
    let gateway = Gateway::start(vec![Route::to("/", &address)]);
    for following in ["\r\n", "", "\r\nGE", "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = gateway.client();
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        let (_, mut first) = requests.recv().unwrap();
        client.send(following);
        let mut body = [0; 3];
        first.read_exact(&mut body).unwrap();
        first.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").unwrap();
        let response = client.response().unwrap();
        assert_eq!((status_of(&response), header_of(&response, "connection")), (200, Some("keep-alive")), "{response}");
        client.send(get("/next").strip_prefix(following.trim_start()).unwrap());
        let (head, mut second) = requests.recv().unwrap();
        assert!(head.starts_with("GET /next HTTP/1.1\r\n"), "{following:?}: {head}");
        second.write_all(OK).unwrap();
        assert_eq!(status_of(&client.response().unwrap()), 200);
    }
}

#[test]
fn a_client_that_disconnects_ends_the_upstream_request_whatever_it_sent_before() {
    let (address, requests) = held();
    let gateway = Gateway::start(vec![Route::to("/", &address)]);
    for following in ["", "\r\n", "GET /n", "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"] {
        for head in ["GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na"]
        {
            let mut client = gateway.client();
            client.send(head);
            let (_, mut stream) = requests.recv().unwrap();
            client.send(following);
            drop(client);
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap_or_else(|error| panic!("{following:?}: {error}"));
        }
    }
    let lines = gateway.log_lines(8);
    let logged: Vec<_> = lines.iter().map(|line| (line["status"].as_u64(), line["reason"].as_str())).collect();
    assert_eq!(logged, [(Some(0), Some("client_gone")); 8]);
}

#[test]
fn a_second_request_is_checked_like_the_first_and_none_follows_a_refused_one() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    for bad in [
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\nHost: a\n\n",
        "\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(format!("{}{bad}{}", get("/1"), get("/3")));
        assert_eq!(status_of(&client.response().unwrap()), 200);
        let refused = client.response().unwrap();
        assert_eq!((status_of(&refused), header_of(&refused, "connection")), (400, Some("close")), "{bad}: {refused}");
        assert!(client.is_over(), "{bad}");
    }
}

#[test]
fn bytes_after_a_handshake_belong_to_the_new_protocol() {
    let (address, requests) = held();
    let gateway = Gateway::start(vec![Route::to("/", &address)]);
    let handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for at_once in [true, false] {
        let mut client = gateway.client();
        client.send(if at_once { format!("{handshake}{}", get("/next")) } else { handshake.to_owned() });
        let (_, mut stream) = requests.recv().unwrap();
        if !at_once {
            client.send(get("/next"));
        }
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .unwrap();
        assert_eq!(status_of(&client.response().unwrap()), 101);
        let mut tunnelled = vec![0; get("/next").len()];
        stream.read_exact(&mut tunnelled).unwrap();
        assert_eq!(String::from_utf8(tunnelled).unwrap(), get("/next"));
    }
    let mut client = gateway.client();
    client.send(format!("{handshake}{}", get("/next")));
    let (_, mut stream) = requests.recv().unwrap();
    stream.write_all(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(status_of(&client.response().unwrap()), 403);
    let (head, mut stream) = requests.recv().unwrap();
    assert!(head.starts_with("GET /next"), "{head}");
    stream.write_all(OK).unwrap();
    assert_eq!(status_of(&client.response().unwrap()), 200);
}

#[test]
fn responses_are_never_swapped_between_clients_and_requests() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                for round in 0..20 {
                    let mut client = gateway.client();
                    let name = |n: usize| format!("{number}-{round}-{n}");
                    let one = |n: usize| match n % 3 {
                        0 => get(&format!("/{}", name(n))),
                        1 => format!(
                            "POST /{0} HTTP/1.1\r\nHost: a\r\nContent-Length: {1}\r\n\r\n{0}",
                            name(n),
                            name(n).len()
                        ),
                        _ => format!("\r\n{}", get(&format!("/{}", name(n)))),
                    };
                    let all: String = (0..12).map(one).collect();
                    let (first, second) = all.split_at(all.len() * (round + 1) / 21);
                    client.send(first);
                    if number == 7 && round % 2 == 0 {
                        continue;
                    }
                    client.send(second);
                    for n in 0..12 {
                        let response = client.response().unwrap();
                        assert!(response.contains(&format!("\"target\":\"/{}\"", name(n))), "{n}: {response}");
                        assert!(n % 3 != 1 || response.contains(&format!("\"body\":\"{}\"", name(n))), "{response}");
                    }
                }
            });
        }
    });
}

#[test]
fn visible_characters_of_a_target_are_forwarded_as_sent() {
    let gateway = Gateway::start(vec![Route::to("/api", &mirror())]);
    for (asked, sent) in [
        ("/api/x?filter={\"a\":\"b\"}", "/x?filter={\"a\":\"b\"}"),
        ("/api/x?q=<b>&r=`|^\\", "/x?q=<b>&r=`|^\\"),
        ("/api/<x>{\"y\"}`|^", "/<x>{\"y\"}`|^"),
        ("/api/%7Cx|%3C", "/%7Cx%7C%3C"),
        ("/api/x?a=%22%3C&b=\"<", "/x?a=%22%3C&b=\"<"),
    ] {
        let response = gateway.send(&format!("GET {asked} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        let line = body_of(&response).lines().next().unwrap_or_default();
        assert_eq!(line, format!("GET {sent} HTTP/1.1"), "{asked}: {response}");
    }
}

#[test]
fn an_unreadable_request_is_refused_counted_and_logged_like_any_other() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let many = format!("GET /many HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(300));
    let long = format!("GET /long HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1_100_000));
    let far = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000));
    let rows = [
        ("GET /space here HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request", "/space"),
        ("GET /tab\there HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request", "/tab%09here"),
        ("GET /del\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request", "/del%7F"),
        ("GET /c\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request", "/c%01"),
        ("GET /two  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request", "/two"),
        ("GET /hosts HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request", "/hosts"),
        ("GET /field HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n", 400, "bad_request", "/field"),
        ("GET /fold HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, "bad_request", "/fold"),
        ("GET /nul HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400, "bad_request", "/nul"),
        ("GET /version HTTP/2.0\r\nHost: a\r\n\r\n", 505, "bad_version", "/version"),
        ("GET /version\r\n\r\n", 400, "bad_request", "/version"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "bad_version", "*"),
        ("\x16\x03\x01\x02\0\x01\0\x01", 400, "bad_request", "/"),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target", "/"),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target", "/a"),
        (&many, 431, "head_too_long", "/many"),
        (&long, 431, "head_too_long", "/long"),
    ];
    for (index, (request, status, reason, path)) in rows.into_iter().enumerate() {
        let shown = request.chars().take(60).collect::<String>();
        let response = gateway.send(request);
        let id = header_of(&response, "x-kong-request-id").unwrap_or_else(|| panic!("{shown}: {response}"));
        let got = (status_of(&response), header_of(&response, "server"), header_of(&response, "connection"));
        assert_eq!(got, (status, Some(crate::SERVER), Some("close")), "{shown}: {response}");
        assert!(body_of(&response).ends_with(&format!("\nrequest_id: {id}\n")), "{shown}: {response}");
        let lines = gateway.log_lines(index + 1);
        let line = &lines[index];
        let logged = (&line["request_id"], &line["status"], &line["reason"], &line["path"], &line["client"]);
        let expected = (&json!(id), &json!(status), &json!(reason), &json!(path), &json!("127.0.0.1"));
        assert_eq!(logged, expected, "{shown}");
    }
    assert_eq!(status_of(&gateway.send(&far)), 414);
    gateway.metrics_with(r#"tollgate_requests_total{code="431",route="",service=""} 2"#);
    gateway.metrics_with(r#"tollgate_requests_total{code="505",route="",service=""} 2"#);
}

#[test]
fn a_slow_head_times_out_and_idle_connections_are_closed_silently() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let started = Instant::now();
    let mut client = gateway.client();
    client.send(get("/1"));
    assert_eq!(status_of(&client.response().unwrap()), 200);
    let head = format!("GET /drip HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(200));
    let mut bytes = head.bytes();
    client.set_patience(Duration::from_millis(100));
    let response = loop {
        client.send([bytes.next().expect("a timeout before the head is complete")]);
        if let Some(response) = client.response_by_now() {
            break response;
        }
    };
    assert_eq!(status_of(&response), 408, "{response}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(gateway.log_lines(2)[1]["reason"], "client_timeout");
    // Idle, with an empty line after the last request.
    let mut client = gateway.client();
    client.send(format!("{}\r\n", get("/2")));
    assert_eq!(status_of(&client.response().unwrap()), 200);
    assert!(client.is_over());
    assert_eq!(gateway.log_lines(3).len(), 3);
}

#[test]
fn ambiguous_chunks_reach_no_upstream() {
    let (address, requests) = held();
    let gateway = Gateway::start_with(streaming(), vec![Route::to("/", &address)]);
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\njunk\r\n\r\n",
        "3\r\nabc\r\n0\r\n A: b\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
    ] {
        let response = gateway.send(&format!("{head}{body}"));
        assert_eq!(status_of(&response), 400, "{body:?}: {response}");
        assert!(requests.try_recv().is_err(), "{body:?}");
    }
    // Later ambiguous chunks are refused as well.
    let mut client = gateway.client();
    client.send(head);
    let (_, mut stream) = requests.recv().unwrap();
    client.send("3\r\nabc\r\n0\r\njunk\r\n\r\n");
    assert_eq!(status_of(&client.response().unwrap()), 400);
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received);
    assert!(!String::from_utf8(received).unwrap().contains("0\r\n\r\n"), "the upstream saw an end");
}

#[test]
fn a_slow_upload_does_not_count_towards_the_upstream_timeout() {
    let slow = Route::to("/", &upstream()).edit(|service| service.read_timeout = 300);
    let gateway = Gateway::start(vec![slow]);
    let mut client = gateway.client();
    client.set_patience(Duration::from_millis(700));
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    for byte in ["a", "b", "c"] {
        assert_eq!(client.response_by_now(), None);
        client.send(byte);
    }
    client.set_patience(Duration::from_secs(20));
    let response = client.response().unwrap();
    assert_eq!(status_of(&response), 200, "{response}");
    // Once it has the request, its read timeout applies.
    client.send(get("/sleep"));
    assert_eq!(status_of(&client.response().unwrap()), 504);
}

#[test]
fn an_upstream_that_should_send_100_continue_has_the_read_timeout() {
    let (address, requests) = held();
    let gateway = Gateway::start(vec![Route::to("/", &address).edit(|service| service.read_timeout = 300)]);
    let mut client = gateway.client();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let held = requests.recv().unwrap();
    assert_eq!(status_of(&client.response().unwrap()), 504);
    drop(held);
}

#[test]
fn a_405_lists_the_allowed_methods() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    for request in ["TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"] {
        let response = gateway.send(request);
        let got = (status_of(&response), header_of(&response, "allow"));
        assert_eq!(got, (405, Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")), "{response}");
    }
}

#[test]
fn the_host_of_an_absolute_target_takes_precedence() {
    let gateway = Gateway::start(vec![Route::to("/", &mirror())]);
    for (request, status, forwarded) in [
        ("GET http://b.test/x HTTP/1.1\r\nHost: a.test", 200, Some("b.test")),
        ("GET HTTPS://b.test:8443/x?y HTTP/1.1\r\nHost: a.test", 200, Some("b.test")),
        ("GET http://b.test/x HTTP/1.0", 200, Some("b.test")),
        ("GET http://b.test/x HTTP/1.1", 400, None),
        ("GET http://b.test/x HTTP/1.1\r\nHost: a b", 400, None),
        ("GET http://b.test/x HTTP/1.1\r\nHost: a\r\nHost: b.test", 400, None),
        ("GET http://u@b.test/x HTTP/1.1\r\nHost: b.test", 400, None),
        ("GET http:///x HTTP/1.1\r\nHost: b.test", 400, None),
        ("GET ftp://b.test/x HTTP/1.1\r\nHost: b.test", 400, None),
    ] {
        let response = gateway.send(&format!("{request}\r\nConnection: close\r\n\r\n"));
        assert_eq!(status_of(&response), status, "{request}: {response}");
        let sent = body_of(&response).lines().find_map(|line| line.strip_prefix("X-Forwarded-Host: "));
        assert_eq!(sent, forwarded, "{request}: {response}");
        assert!(status != 200 || body_of(&response).starts_with("GET /x"), "{response}");
    }
}

#[test]
fn options_on_the_server_itself_go_to_a_route_for_any_path() {
    let gateway = Gateway::start(vec![Route::to("", &mirror()), Route::to("/", &upstream())]);
    for target in ["*", "http://a.test"] {
        let response = gateway.send(&format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert!(body_of(&response).starts_with("OPTIONS * HTTP/1.1\r\n"), "{response}");
    }
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let response = gateway.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(status_of(&response), 404, "{response}");
}

#[test]
fn a_connection_continues_after_the_response_to_a_client_that_waited() {
    let gateway = Gateway::start(vec![refusing()]);
    let expecting = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut client = gateway.client();
    client.send(expecting);
    let response = client.response().unwrap();
    assert_eq!((status_of(&response), header_of(&response, "connection")), (401, Some("keep-alive")), "{response}");
    // The message has a body, so it is sent, and discarded (RFC 9110 §10.1.1).
    client.send(format!("hello{}", get("/next")));
    assert_eq!(status_of(&client.response().unwrap()), 401);
    // A client that does not wait.
    client.send(format!("{expecting}hello{}", get("/next")));
    assert_eq!([status_of(&client.response().unwrap()), status_of(&client.response().unwrap())], [401, 401]);
    // Bytes that could be the body or another request are treated as neither.
    client.send(expecting);
    assert_eq!(status_of(&client.response().unwrap()), 401);
    client.send(get("/smuggled"));
    assert!(client.is_over());
    assert_eq!(gateway.log_lines(5).len(), 5);
    assert!(!gateway.log().contains("smuggled"));
    // A body that is too long to be discarded.
    let mut client = gateway.client();
    client.send(expecting.replace(" 5\r\n", " 5000000\r\n"));
    let response = client.response().unwrap();
    assert_eq!((status_of(&response), header_of(&response, "connection")), (401, Some("close")), "{response}");
}

#[test]
fn an_aborted_upload_after_100_continue_is_not_counted_as_100() {
    let reader = guard(|request| match request.body {
        RequestBody::Unread => Verdict::NeedBody { limit: 100, terminal: true },
        _ => Verdict::Reply(Reply::message(StatusCode::OK, "read", "read")),
    });
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugin(reader)]);
    let mut client = gateway.client();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(status_of(&client.response().unwrap()), 100);
    client.send("he");
    client.leave(Shutdown::Both);
    let lines = gateway.log_lines(1);
    assert_eq!((&lines[0]["status"], &lines[0]["reason"]), (&json!(0), &json!("client_gone")));
}

#[test]
fn a_response_is_not_lost_when_later_bytes_are_unread() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let response = gateway.send(&format!("{last}{}", get("/following").repeat(1000)));
    assert!(response.contains("\"target\":\"/last\"}"), "{response}");
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
}
