//! When a request is sent a second time, and never a third time.

use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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

/// When a server says on its first connection that it goes away; it then responds no more there, and responds on
/// each later one.
#[derive(Debug, Clone, Copy)]
enum Goes {
    /// On the first request, which it does not process.
    WithoutTheFirst,
    /// Right after the first response.
    AfterTheFirst,
    /// On the second request, which it does not process.
    WithoutTheSecond,
    /// On the second request, which it counts among those that it received; then it closes.
    WithTheSecond,
}

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACKNOWLEDGED: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];

/// `GOAWAY` without error (RFC 9113 §6.8).
fn goaway(last_stream: u8) -> [u8; 17] {
    [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last_stream, 0, 0, 0, 0]
}

/// The type and the stream of the next frame; `None` at the end.
async fn frame(stream: &mut dyn Stream) -> Option<(u8, u8)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    // Acknowledgements are not told.
    Some((if head[3] == 4 && head[4] == 1 { 0xff } else { head[3] }, head[8]))
}

/// Frame by frame, since a library would process what it receives.
async fn server_that_goes_away(authority: &Authority, goes: Goes) -> (Server, Arc<AtomicUsize>) {
    let responses = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&responses);
    let server = Server::start(Some(authority.acceptor(&["127.0.0.1"], b"\x02h2")), move |nth, mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            stream.read_exact(&mut [0; 24]).await.unwrap();
            stream.write_all(&SETTINGS).await.unwrap();
            let mut gone = false;
            while let Some((kind, id)) = frame(&mut stream).await {
                let leaves = nth == 0 && (id > 1 || matches!(goes, Goes::WithoutTheFirst));
                match kind {
                    4 => stream.write_all(&SETTINGS_ACKNOWLEDGED).await.unwrap(),
                    1 if gone => {}
                    1 if leaves => {
                        let last = match goes {
                            Goes::WithoutTheFirst => 0,
                            Goes::AfterTheFirst | Goes::WithoutTheSecond => 1,
                            Goes::WithTheSecond => id,
                        };
                        stream.write_all(&goaway(last)).await.unwrap();
                        gone = true;
                        if last == id {
                            return;
                        }
                    }
                    1 => {
                        counted.fetch_add(1, Ordering::SeqCst);
                        // `:status: 200`, and nothing else.
                        let mut said = vec![0, 0, 1, 1, 5, 0, 0, 0, id, 0x88];
                        if nth == 0 && matches!(goes, Goes::AfterTheFirst) {
                            said.extend(goaway(1));
                            gone = true;
                        }
                        stream.write_all(&said).await.unwrap();
                    }
                    _ => {}
                }
            }
        }
    })
    .await;
    (server, responses)
}

#[tokio::test]
async fn when_an_http2_server_goes_away_what_it_has_not_processed_is_sent_on_a_new_connection_rfc9113_6_8() {
    for (goes, method, responses, connections) in [
        (Goes::WithoutTheFirst, Method::POST, 3, 2),
        (Goes::AfterTheFirst, Method::POST, 3, 2),
        (Goes::WithoutTheSecond, Method::POST, 3, 2),
        (Goes::WithTheSecond, Method::POST, 2, 2),
        (Goes::WithTheSecond, Method::GET, 3, 2),
    ] {
        let authority = Authority::new();
        let (server, counted) = server_that_goes_away(&authority, goes).await;
        let profile = fixture().profile().tls(Tls::authorities(&authority.pem()).unwrap());
        let url = server.url("https", "/");
        assert_eq!(profile.send(request(method.clone(), &url)).await.unwrap().status(), StatusCode::OK);
        let second = profile.send(request(method.clone(), &url)).await;
        if responses == 3 {
            assert_eq!(second.unwrap().status(), StatusCode::OK, "{method} {goes:?}");
        } else {
            assert!(matches!(second, Err(Error::Lost { part: Part::Head, .. })), "{method} {goes:?}: {second:?}");
        }
        assert_eq!(profile.send(request(method.clone(), &url)).await.unwrap().status(), StatusCode::OK);
        let sent = (counted.load(Ordering::SeqCst), server.accepted());
        assert_eq!(sent, (responses, connections), "{method} {goes:?}");
    }
}
