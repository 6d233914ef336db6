//! When a request is sent a second time, and never a third time.

use http::{Response, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::error::Part;
use crate::testing::Authority;
use crate::{Class, Error, Tls};

/// On its first connection it responds to one request, and after the second one sends these bytes and closes;
/// on each later connection it does `then`. Counts requests.
async fn dies_under_the_second(says: &'static [u8], then: &'static [u8]) -> (Server, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = Server::start(None, move |nth, mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            let said: &[&[u8]] = if nth == 0 { &[OK, says] } else { &[then] };
            for bytes in said {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                stream.write_all(bytes).await.unwrap();
            }
        }
    })
    .await;
    (server, requests)
}

#[tokio::test]
async fn a_repeatable_request_is_sent_again_when_a_reused_connection_breaks() {
    for (method, repeatable, repeated) in [
        (Method::GET, false, true),
        (Method::DELETE, false, true),
        (Method::POST, false, false),
        (Method::POST, true, true),
    ] {
        let fixture = fixture();
        let (server, requests) = dies_under_the_second(b"", OK).await;
        let profile = if repeatable { fixture.profile().repeatable() } else { fixture.profile() };
        profile.send(get(&server.url("http", "/"))).await.unwrap();
        let result = profile.send(request(method.clone(), &server.url("http", "/"))).await;
        if repeated {
            assert_eq!(result.unwrap().status(), StatusCode::OK, "{method}");
        } else {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Lost { part: Part::Head, .. }), "{method}: {error}");
            assert_eq!(error.class(), Class::Unavailable);
        }
        assert_eq!(requests.load(Ordering::SeqCst), if repeated { 3 } else { 2 }, "{method}");
    }
}

#[tokio::test]
async fn a_request_is_never_sent_a_third_time() {
    let fixture = fixture();
    let (server, requests) = dies_under_the_second(b"", b"").await;
    fixture.profile().send(get(&server.url("http", "/"))).await.unwrap();
    let error = fixture.profile().send(get(&server.url("http", "/"))).await.unwrap_err();
    assert!(matches!(error, Error::Lost { part: Part::Head, .. }), "{error}");
    assert_eq!((requests.load(Ordering::SeqCst), server.accepted()), (3, 2));
    fixture.assert_metric(r#"tollgate_outbound_requests_total{outcome="lost",plugin="test"} 1"#);
}

#[tokio::test]
async fn a_request_is_not_repeated_on_a_connection_that_was_new_or_once_a_response_has_begun() {
    let (server, requests) = server_that_says("").await;
    let error = fixture().profile().send(get(&server.url("http", "/"))).await.unwrap_err();
    assert!(matches!(error, Error::Lost { part: Part::Head, .. }), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 1);

    let (server, requests) = dies_under_the_second(b"H", OK).await;
    let profile = fixture().profile();
    profile.send(get(&server.url("http", "/"))).await.unwrap();
    let error = profile.send(get(&server.url("http", "/"))).await.unwrap_err();
    assert!(matches!(error, Error::Lost { part: Part::Head, .. }), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

/// What an HTTP/2 server does with the second request on its first connection; it responds to all others.
#[derive(Debug, Clone, Copy)]
enum Second {
    Reset(h2::Reason),
    Close,
}

async fn http2_server(authority: &Authority, second: Second) -> (Server, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = Server::start(Some(authority.acceptor(&["127.0.0.1"], b"\x02h2")), move |nth, stream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut on_this = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                on_this += 1;
                match second {
                    Second::Reset(reason) if (nth, on_this) == (0, 2) => respond.send_reset(reason),
                    Second::Close if (nth, on_this) == (0, 2) => return,
                    _ => drop(respond.send_response(Response::new(()), true).unwrap()),
                }
            }
        }
    })
    .await;
    (server, requests)
}

#[tokio::test]
async fn over_http2_a_refused_or_repeatable_request_is_sent_again() {
    const REFUSED: Second = Second::Reset(h2::Reason::REFUSED_STREAM);
    const BROKEN: Second = Second::Reset(h2::Reason::INTERNAL_ERROR);
    for (method, second, repeated, connections) in [
        // The server says that it has not processed it (RFC 9113 §8.7).
        (Method::POST, REFUSED, true, 1),
        (Method::GET, BROKEN, false, 1),
        (Method::GET, Second::Close, true, 2),
        (Method::POST, Second::Close, false, 1),
    ] {
        let authority = Authority::new();
        let (server, requests) = http2_server(&authority, second).await;
        let profile = fixture().profile().tls(Tls::authorities(&authority.pem()).unwrap());
        let url = server.url("https", "/");
        profile.send(get(&url)).await.unwrap();
        let result = profile.send(request(method.clone(), &url)).await;
        match (result, second) {
            (Ok(response), _) if repeated => assert_eq!(response.status(), StatusCode::OK),
            (Err(Error::InvalidResponse { part: Part::Head, .. }), Second::Reset(_)) if !repeated => {}
            (Err(Error::Lost { part: Part::Head, .. }), Second::Close) if !repeated => {}
            (other, _) => panic!("{method} {second:?}: {other:?}"),
        }
        let sent = requests.load(Ordering::SeqCst);
        assert_eq!((sent, server.accepted()), (if repeated { 3 } else { 2 }, connections), "{method} {second:?}");
    }
}
