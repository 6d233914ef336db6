//! When a request is sent a second time, and that it never is a third time.

use http::StatusCode;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::error::Part;
use crate::{Class, Error};

/// On its first connection it responds to one request, and after the second says these bytes and closes; on
/// each later one it does `then`. Counts requests.
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
async fn a_request_that_may_be_repeated_is_sent_once_more_when_a_kept_connection_dies() {
    let plain = |fixture: &Fixture| fixture.profile();
    let repeatable = |fixture: &Fixture| fixture.profile().repeatable();
    let cases: [(Method, &dyn Fn(&Fixture) -> Profile, bool); 4] = [
        (Method::GET, &plain, true),
        (Method::DELETE, &plain, true),
        (Method::POST, &plain, false),
        (Method::POST, &repeatable, true),
    ];
    for (method, profile, repeated) in cases {
        let fixture = fixture();
        let (server, requests) = dies_under_the_second(b"", OK).await;
        let profile = profile(&fixture);
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
