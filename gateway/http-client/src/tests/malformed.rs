//! Malformed responses.

use http::StatusCode;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::error::Part;
use crate::{Class, Error};

#[tokio::test]
async fn a_response_that_is_not_http_is_invalid_and_not_retried() {
    for said in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nspace : before colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: nul \0 inside\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
    ] {
        let (server, requests) = server_that_says(said).await;
        let error = fixture().profile().send(get(&server.url("http", "/"))).await.unwrap_err();
        assert!(matches!(error, Error::InvalidResponse { part: Part::Head, .. }), "{said:?}: {error}");
        assert_eq!((error.class(), requests.load(Ordering::SeqCst)), (Class::BadResponse, 1), "{said:?}");
    }
}

#[tokio::test]
async fn a_truncated_body_is_an_error() {
    for said in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ] {
        let (server, requests) = server_that_says(said).await;
        let error = fixture().profile().send(get(&server.url("http", "/"))).await.unwrap_err();
        assert!(matches!(error, Error::Lost { part: Part::Body, .. }), "{said:?}: {error}");
        assert_eq!((error.class(), requests.load(Ordering::SeqCst)), (Class::Unavailable, 1), "{said:?}");
    }
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nhalf\r\n0\r\n\r\n";
    let (server, _) = server_that_says(chunk).await;
    let error = fixture().profile().send(get(&server.url("http", "/"))).await.unwrap_err();
    assert!(matches!(error, Error::InvalidResponse { part: Part::Body, .. }), "{error}");
}

#[tokio::test]
async fn a_protocol_switch_is_refused() {
    let (server, _) = server_that_says("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").await;
    let error = fixture().profile().send(get(&server.url("http", "/"))).await.unwrap_err();
    assert!(matches!(error, Error::Upgrade { .. }), "{error}");
}

#[tokio::test]
async fn a_second_response_to_one_request_is_not_used_for_the_next_request() {
    let server = Server::start(None, |nth, mut stream| async move {
        let forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
        let said = if nth == 0 { [OK, forged].concat() } else { OK.to_vec() };
        while read_request(&mut stream).await.is_some() {
            if stream.write_all(&said).await.is_err() {
                return;
            }
        }
    })
    .await;
    let profile = fixture().profile();
    for _ in 0..3 {
        let response = profile.send(request(Method::POST, &server.url("http", "/"))).await.unwrap();
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &b"ok"[..]));
    }
    assert_eq!(server.accepted(), 2);
}
