//! Limits of a call, and what happens beyond them.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::error::{Part, Phase};
use crate::testing::Authority;
use crate::{Class, Error, Tls};

/// A server that responds when it is told to, and reports each request.
struct Held {
    server: Server,
    gate: Arc<Semaphore>,
    arrived: mpsc::UnboundedReceiver<()>,
}

async fn held() -> Held {
    let gate = Arc::new(Semaphore::new(0));
    let (tell, arrived) = mpsc::unbounded_channel();
    let kept = Arc::clone(&gate);
    let server = Server::start(None, move |_, mut stream| {
        let (gate, tell) = (Arc::clone(&kept), tell.clone());
        async move {
            while read_request(&mut stream).await.is_some() {
                tell.send(()).unwrap();
                gate.acquire().await.unwrap().forget();
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    Held { server, gate, arrived }
}

#[tokio::test]
async fn a_call_beyond_the_queue_fails_at_once_without_affecting_other_authorities() {
    let fixture = Fixture::new(Limits { calls: 1, queue: 1, ..Limits::default() });
    let mut slow = held().await;
    let url = slow.server.url("http", "/token?secret");
    let send = || {
        let (profile, url) = (fixture.profile(), url.clone());
        tokio::spawn(async move { profile.send(get(&url)).await })
    };
    let first = send();
    slow.arrived.recv().await.unwrap();
    // One of these two waits and the other is refused; which one does not matter.
    let (mut second, mut third) = (send(), send());
    let (refused, waiting) = tokio::select! {
        refused = &mut second => (refused, third),
        refused = &mut third => (refused, second),
    };
    let refused = refused.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Overloaded { calls: 1, waiting: 1, .. }), "{refused}");
    assert_eq!(refused.class(), Class::Unavailable);
    assert!(!refused.to_string().contains("secret"), "{refused}");
    fixture.assert_metric(r#"tollgate_outbound_requests_in_flight{plugin="test"} 2"#);

    let other = Server::start(None, |_, stream| respond_to_all(stream)).await;
    let beside = fixture.profile().send(get(&other.url("http", "/"))).await.unwrap();
    assert_eq!(beside.status(), StatusCode::OK);

    slow.gate.add_permits(2);
    for call in [first, waiting] {
        assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(slow.server.accepted(), 1);
}

#[tokio::test]
async fn a_call_that_waits_too_long_in_the_queue_times_out() {
    let fixture = Fixture::new(Limits { calls: 1, queue: 1, ..Limits::default() });
    let mut slow = held().await;
    let url = slow.server.url("http", "/");
    let first = fixture.profile();
    let under_way = tokio::spawn({
        let url = url.clone();
        async move { first.send(get(&url)).await }
    });
    slow.arrived.recv().await.unwrap();
    let waited = fixture.profile().timeout(Duration::from_millis(20)).send(get(&url)).await.unwrap_err();
    assert!(matches!(waited, Error::Timeout { phase: Phase::Queue, .. }), "{waited}");
    slow.gate.add_permits(1);
    assert_eq!(under_way.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_cancelled_call_makes_room_for_the_next() {
    let fixture = Fixture::new(Limits { calls: 1, queue: 1, ..Limits::default() });
    let mut slow = held().await;
    let url = slow.server.url("http", "/");
    let profile = fixture.profile();
    {
        let mut given_up = std::pin::pin!(profile.send(get(&url)));
        tokio::select! {
            result = &mut given_up => panic!("{result:?}"),
            arrived = slow.arrived.recv() => arrived.unwrap(),
        }
    }
    let next = tokio::spawn(async move { profile.send(get(&url)).await });
    // It reaches the server, which has not responded to the first.
    tokio::time::timeout(Duration::from_secs(5), slow.arrived.recv()).await.unwrap().unwrap();
    slow.gate.add_permits(2);
    assert_eq!(next.await.unwrap().unwrap().status(), StatusCode::OK);
    fixture.assert_metric(r#"tollgate_outbound_requests_total{outcome="canceled",plugin="test"} 1"#);
    fixture.assert_metric(r#"tollgate_outbound_requests_in_flight{plugin="test"} 0"#);
}

#[tokio::test]
async fn one_authority_too_many_is_refused_unless_it_replaces_an_unused_one() {
    let fixture = Fixture::new(Limits { authorities: 1, ..Limits::default() });
    let mut slow = held().await;
    let other = Server::start(None, |_, stream| respond_to_all(stream)).await;
    let (profile, url) = (fixture.profile(), slow.server.url("http", "/"));
    let under_way = tokio::spawn(async move { profile.send(get(&url)).await });
    slow.arrived.recv().await.unwrap();
    let refused = fixture.profile().send(get(&other.url("http", "/"))).await.unwrap_err();
    assert!(matches!(refused, Error::TooManyAuthorities { authorities: 1, .. }), "{refused}");
    slow.gate.add_permits(1);
    assert_eq!(under_way.await.unwrap().unwrap().status(), StatusCode::OK);
    // The call releases its authority a moment after its response.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while fixture.profile().send(get(&other.url("http", "/"))).await.is_err() {
        assert!(std::time::Instant::now() < deadline);
    }
}

#[tokio::test]
async fn a_call_to_a_silent_server_times_out_and_its_connection_is_closed() {
    let fixture = fixture();
    let (closed, mut has_closed) = mpsc::unbounded_channel();
    let server = Server::start(None, move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_request(&mut stream).await;
            // Until the client closes the connection.
            let _ = stream.read(&mut [0]).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let brief = Duration::from_millis(50);
    let error = fixture.profile().timeout(brief).send(get(&server.url("http", "/a?b"))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { phase: Phase::Response, after, .. } if after == brief), "{error}");
    let place = server.url("http", "/a");
    let message = format!("{place}: timeout after 50ms while waiting for the response; the server is slow");
    assert_eq!((error.to_string(), error.class()), (message, Class::Unavailable));
    has_closed.recv().await.unwrap();
    fixture.assert_metric(r#"tollgate_outbound_requests_total{outcome="timeout",plugin="test"} 1"#);
}

#[tokio::test]
async fn an_http2_connection_takes_no_calls_after_one_timed_out() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], b"\x02h2");
    let server = Server::http2(acceptor, |request| async move {
        if request.uri().path() == "/slow" {
            std::future::pending::<()>().await;
        }
        Response::new(Full::new(Bytes::from("ok")))
    })
    .await;
    let profile = fixture().profile().tls(Tls::authorities(&authority.pem()).unwrap());
    assert_eq!(profile.send(get(&server.url("https", "/"))).await.unwrap().status(), StatusCode::OK);
    let impatient = profile.clone().timeout(Duration::from_millis(50));
    let error = impatient.send(get(&server.url("https", "/slow"))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { phase: Phase::Response, .. }), "{error}");
    assert_eq!(profile.send(get(&server.url("https", "/"))).await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_is_silent_in_the_tls_handshake_is_a_connect_timeout() {
    let server = Server::start(None, |_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let profile = fixture().profile().connect_timeout(Duration::from_millis(50));
    let error = profile.send(get(&server.url("https", "/"))).await.unwrap_err();
    let expected = Duration::from_millis(50);
    assert!(matches!(error, Error::Timeout { phase: Phase::Connect, after, .. } if after == expected), "{error}");
}

#[tokio::test]
async fn a_name_server_that_hangs_is_a_connect_timeout_and_is_asked_once() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let names = names(&[server.local_addr().unwrap()]);
    let client =
        Client::of(Handle::current(), &Registry::new(), Destinations::default(), Limits::default(), names).unwrap();
    let profile = client.profile("test").connect_timeout(Duration::from_millis(50));
    let calls = (0..5).map(|_| profile.send(get("http://issuer.test/")));
    for result in futures::future::join_all(calls).await {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Timeout { phase: Phase::Connect, .. }), "{error}");
    }
    let mut asked = Vec::new();
    let mut datagram = [0; 512];
    while let Ok(length) = server.try_recv(&mut datagram) {
        // One question, at whose end are its type and class (RFC 1035 §4.1.2); the additional record has 11 bytes.
        let name = datagram[12..length].iter().position(|byte| *byte == 0).unwrap() + 13;
        asked.push(u16::from_be_bytes([datagram[name], datagram[name + 1]]));
    }
    let once: std::collections::BTreeSet<_> = asked.iter().copied().collect();
    assert_eq!((once.len(), once.contains(&1)), (asked.len(), true), "no question twice: {asked:?}");
}

#[tokio::test]
async fn an_unknown_host_and_a_closed_port_are_different_errors() {
    let fixture = fixture();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let error = fixture.profile().send(get(&format!("http://{closed}/"))).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let error = fixture.profile().send(get("http://no-such-host.invalid/")).await.unwrap_err();
    assert!(matches!(error, Error::Resolve { .. } | Error::Timeout { phase: Phase::Connect, .. }), "{error}");
}

#[tokio::test]
async fn a_body_larger_than_the_limit_is_refused_with_and_without_content_length() {
    for framing in [
        "content-length: 11\r\n\r\n12345678901".to_owned(),
        // The announced length is enough.
        "content-length: 11\r\n\r\n".to_owned(),
        "transfer-encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n".to_owned(),
        "\r\n12345678901".to_owned(),
    ] {
        let (server, _) = server_that_says(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        let error = fixture().profile().max_body(10).send(get(&server.url("http", "/"))).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { part: Part::Body, limit: 10, .. }), "{framing}: {error}");
        assert_eq!(error.class(), Class::BadResponse);
    }
    let (server, _) = server_that_says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1234567890").await;
    let fits = fixture().profile().max_body(10).send(get(&server.url("http", "/"))).await.unwrap();
    assert_eq!(fits.body(), "1234567890");
}

#[tokio::test]
async fn an_http2_body_larger_than_the_limit_ends_only_its_own_call() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], b"\x02h2");
    let server = Server::http2(acceptor, |_| async { Response::new(Full::new(Bytes::from("12345678901"))) }).await;
    let profile = fixture().profile().tls(Tls::authorities(&authority.pem()).unwrap());
    let error = profile.clone().max_body(10).send(get(&server.url("https", "/"))).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { part: Part::Body, limit: 10, .. }), "{error}");
    assert_eq!(profile.send(get(&server.url("https", "/"))).await.unwrap().body(), "12345678901");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_head_larger_than_the_limit_is_refused() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "a".repeat(40_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: a\r\n".repeat(120));
    for head in [large, many] {
        let (server, requests) = server_that_says(head).await;
        let error = fixture().profile().send(get(&server.url("http", "/"))).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { part: Part::Head, .. }), "{error}");
        assert_eq!(requests.load(Ordering::SeqCst), 1);
    }
}
