//! How connections are shared, and when they end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use http_body_util::Full;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Barrier, mpsc};

use super::*;
use crate::testing::Authority;
use crate::{Error, Tls};

#[tokio::test]
async fn consecutive_calls_share_one_connection() {
    let fixture = fixture();
    let server = Server::start(None, |_, stream| respond_to_all(stream)).await;
    for _ in 0..5 {
        let response = fixture.profile().send(get(&server.url("http", "/"))).await.unwrap();
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &b"ok"[..]));
    }
    assert_eq!(server.accepted(), 1);
    for line in [
        r#"tollgate_outbound_requests_total{outcome="response",plugin="test"} 5"#,
        r#"tollgate_outbound_requests_in_flight{plugin="test"} 0"#,
        r#"tollgate_outbound_request_duration_seconds_count{plugin="test"} 5"#,
        r#"tollgate_outbound_connections_total{plugin="test",protocol="http/1.1"} 1"#,
    ] {
        fixture.assert_metric(line);
    }
}

#[tokio::test]
async fn calls_that_were_made_at_once_find_their_connections_again() {
    let calls = Limits::default().calls;
    let all_here = Arc::new(Barrier::new(calls));
    let server = Server::start(None, move |_, mut stream| {
        let all_here = Arc::clone(&all_here);
        async move {
            while read_request(&mut stream).await.is_some() {
                // No response before all requests are in flight.
                all_here.wait().await;
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let (profile, url) = (fixture().profile(), server.url("http", "/"));
    for _ in 0..3 {
        for response in futures::future::join_all((0..calls).map(|_| profile.send(get(&url)))).await {
            assert_eq!(response.unwrap().status(), StatusCode::OK);
        }
    }
    assert_eq!(server.accepted(), calls);
}

#[tokio::test]
async fn consecutive_calls_share_one_connection_over_tls_without_http2() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], b"\x08http/1.1");
    let server = Server::start(Some(acceptor), |_, stream| respond_to_all(stream)).await;
    let profile = fixture().profile().tls(Tls::authorities(&authority.pem()).unwrap());
    for _ in 0..3 {
        let response = profile.send(get(&server.url("https", "/"))).await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_11));
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn concurrent_calls_share_one_connection_over_http2() {
    const CALLS: usize = 20;
    let (authority, fixture) = (Authority::new(), fixture());
    let all_here = Arc::new(Barrier::new(CALLS));
    let server = Server::http2(authority.acceptor(&["127.0.0.1"], b"\x02h2\x08http/1.1"), move |_| {
        let all_here = Arc::clone(&all_here);
        async move {
            // No response before all requests are in flight.
            all_here.wait().await;
            Response::new(Full::new(Bytes::from("ok")))
        }
    })
    .await;
    let profile = fixture.profile().tls(Tls::authorities(&authority.pem()).unwrap());
    let url = server.url("https", "/");
    for response in futures::future::join_all((0..CALLS).map(|_| profile.send(get(&url)))).await {
        let response = response.unwrap();
        assert_eq!((response.version(), &response.body()[..]), (Version::HTTP_2, &b"ok"[..]));
    }
    assert_eq!(server.accepted(), 1);
    fixture.assert_metric(r#"tollgate_outbound_connections_total{plugin="test",protocol="h2"} 1"#);
}

#[tokio::test]
async fn an_http2_server_that_allows_one_concurrent_call_gets_a_connection_per_call() {
    let authority = Authority::new();
    let both_here = Arc::new(Barrier::new(2));
    let acceptor = authority.acceptor(&["127.0.0.1"], b"\x02h2");
    let server = Server::http2_with(acceptor, Some(1), move |request| {
        let both_here = Arc::clone(&both_here);
        async move {
            if request.uri().path() == "/both" {
                both_here.wait().await;
            }
            Response::new(Full::new(Bytes::from("ok")))
        }
    })
    .await;
    let profile = fixture().profile().tls(Tls::authorities(&authority.pem()).unwrap());
    // The server's limit arrives before its first response, and the next call knows it.
    for _ in 0..2 {
        profile.send(get(&server.url("https", "/"))).await.unwrap();
    }
    assert_eq!(server.accepted(), 1);
    let url = server.url("https", "/both");
    for response in futures::future::join_all((0..2).map(|_| profile.send(get(&url)))).await {
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_connection_outlives_the_runtime_of_the_caller_that_opened_it() {
    let fixture = fixture();
    let server = Server::start(None, |_, stream| respond_to_all(stream)).await;
    for _ in 0..2 {
        let (profile, url) = (fixture.profile(), server.url("http", "/"));
        let other_thread = std::thread::spawn(move || {
            // No I/O and no time: the call needs neither here.
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { profile.send(get(&url)).await.unwrap().status() })
        });
        let status = tokio::task::spawn_blocking(move || other_thread.join().unwrap()).await.unwrap();
        assert_eq!(status, StatusCode::OK);
    }
    let here = fixture.profile().send(get(&server.url("http", "/"))).await.unwrap();
    assert_eq!((here.status(), server.accepted()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn calls_end_with_the_clients_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = Client::new(runtime.handle().clone(), &Registry::new()).unwrap();
    runtime.shutdown_background();
    let ended = client.profile("test").send(get("http://127.0.0.1:1/")).await.unwrap_err();
    assert!(matches!(ended, Error::Stopped { .. }), "{ended}");
}

#[tokio::test]
async fn a_call_that_stays_on_its_thread_needs_no_other_and_shares_no_connection_with_them() {
    let server = Server::start(None, |_, stream| respond_to_all(stream)).await;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = Client::new(runtime.handle().clone(), &Registry::new()).unwrap();
    let profile = client.profile("test").staying();
    let elsewhere = profile.clone();
    let url = server.url("http", "/");
    // On a runtime with several threads it does not stay.
    let status = runtime.spawn(async move { elsewhere.send(get(&url)).await.unwrap().status() }).await.unwrap();
    assert_eq!((status, server.accepted()), (StatusCode::OK, 1));
    runtime.shutdown_background();
    for _ in 0..2 {
        let here = profile.send(get(&server.url("http", "/"))).await.unwrap();
        assert_eq!((here.status(), server.accepted()), (StatusCode::OK, 2));
    }
}

#[tokio::test]
async fn a_connection_closed_by_the_server_is_not_reused() {
    let (closed, mut has_closed) = mpsc::unbounded_channel();
    let server = Server::start(None, move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
    })
    .await;
    let fixture = fixture();
    for _ in 0..3 {
        // It must not be sent twice, so each call needs a live connection.
        let response = fixture.profile().send(request(Method::POST, &server.url("http", "/"))).await;
        assert_eq!(response.unwrap().status(), StatusCode::OK);
        has_closed.recv().await.unwrap();
    }
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn a_connection_that_is_too_old_takes_no_call() {
    let fixture = Fixture::new(Limits { max_age: Duration::ZERO, ..Limits::default() });
    let server = Server::start(None, |_, stream| respond_to_all(stream)).await;
    for _ in 0..3 {
        fixture.profile().send(get(&server.url("http", "/"))).await.unwrap();
    }
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let brief = Duration::from_millis(10);
    let fixture = Fixture::new(Limits { idle_timeout: brief, sweep: brief, ..Limits::default() });
    let (ended, mut has_ended) = mpsc::unbounded_channel();
    let server = Server::start(None, move |_, stream| {
        let ended = ended.clone();
        async move {
            respond_to_all(stream).await;
            ended.send(()).unwrap();
        }
    })
    .await;
    fixture.profile().send(get(&server.url("http", "/"))).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), has_ended.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn new_connections_use_changed_addresses() {
    let says = |text: &'static str| {
        Server::start(None, move |_, mut stream| async move {
            while read_request(&mut stream).await.is_some() {
                let response = format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{text}");
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        })
    };
    let (old, new) = (says("old").await, says("new").await);
    let address: Arc<Mutex<SocketAddr>> = Arc::new(Mutex::new(old.address));
    let told = Arc::clone(&address);
    let lookup: resolver::Lookup = Arc::new(move |_, _| Ok(vec![*told.lock().unwrap()]));
    let limits = Limits { max_age: Duration::ZERO, ..Limits::default() };
    let client = Client::with(Handle::current(), &Registry::new(), Destinations::default(), limits, lookup).unwrap();
    let profile = client.profile("test");
    let body = || async { profile.send(get("http://issuer.test/")).await.unwrap().into_body() };
    assert_eq!(body().await, "old");
    *address.lock().unwrap() = new.address;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while body().await != "new" {
        assert!(std::time::Instant::now() < deadline, "the old address is still used");
    }
}

#[tokio::test]
async fn redirects_and_encoded_bodies_are_passed_on_unchanged() {
    let said = "HTTP/1.1 302 Found\r\nlocation: http://elsewhere.test/\r\ncontent-encoding: gzip\r\n\
                content-length: 3\r\n\r\n\x1f\x0b\x08";
    let (server, requests) = server_that_says(said).await;
    let response = fixture().profile().send(get(&server.url("http", "/"))).await.unwrap();
    let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!((header("location"), header("content-encoding")), ("http://elsewhere.test/", "gzip"));
    assert_eq!(response.body(), "\x1f\x0b\x08");
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_is_kept_as_long_as_the_profile_says_that_used_it_last() {
    let fixture = fixture();
    let server = Server::start(None, |_, stream| respond_to_all(stream)).await;
    let url = server.url("http", "/");
    let (keeping, closing) = (fixture.profile(), fixture.profile().keepalive(Duration::ZERO));
    for (profile, connections) in
        [(&closing, 1), (&closing, 2), (&keeping, 3), (&keeping, 3), (&closing, 3), (&keeping, 4)]
    {
        profile.send(get(&url)).await.unwrap();
        assert_eq!(server.accepted(), connections);
    }
}

#[tokio::test]
async fn an_idle_http2_connection_is_kept_as_long_as_the_profile_says() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], b"\x02h2");
    let server = Server::http2(acceptor, |_| async { Response::new(Full::new(Bytes::from("ok"))) }).await;
    let profile = fixture().profile().tls(Tls::authorities(&authority.pem()).unwrap());
    let closing = profile.clone().keepalive(Duration::ZERO);
    for (profile, connections) in [(&profile, 1), (&profile, 1), (&closing, 1), (&profile, 2)] {
        profile.send(get(&server.url("https", "/"))).await.unwrap();
        assert_eq!(server.accepted(), connections);
    }
}
