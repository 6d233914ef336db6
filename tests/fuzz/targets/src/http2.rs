//! HTTP/2 to HTTP/1: whatever frames a client sends, a request that the gateway accepts is one head for an HTTP/1
//! upstream, and its body has the length that it declares.

use std::sync::Arc;

use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::http::RequestHeader;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollgate::proxy::{Limits, framing};

use crate::{connection, head};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The frames after the settings.
pub fn http2(data: &[u8]) {
    connection::run(async {
        let (mut client, server) = tokio::io::duplex(connection::CAPACITY);
        client.write_all(PREFACE).await.expect("room");
        client.write_all(data).await.expect("room");
        let (mut reader, mut writer) = tokio::io::split(client);
        writer.shutdown().await.expect("an open connection");
        // What the gateway writes is taken and dropped.
        let drain = async {
            let _ = reader.read_to_end(&mut Vec::new()).await;
        };
        tokio::select! {
            () = drain => {}
            () = serve(Box::new(server)) => {}
        }
    });
}

async fn serve(server: Box<tokio::io::DuplexStream>) {
    let Ok(mut connection) = handshake(server, None).await else { return };
    let mut sessions = Vec::new();
    let digest = Arc::new(Digest::default());
    while let Ok(Some(accepted)) = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)).await {
        if let H2Accept::Session(session) = accepted {
            sessions.push(session);
        }
    }
    for mut session in sessions {
        if framing::check(session.req_header(), None, &Limits::default()).is_ok() {
            let head = session.req_header().clone();
            forward(&head, body(&mut session).await);
        }
    }
}

/// `None`: it has no end.
async fn body(session: &mut HttpSession) -> Option<usize> {
    let mut length = 0;
    while let Some(piece) = session.read_body_bytes().await.ok()? {
        length += piece.len();
    }
    Some(length)
}

fn forward(received: &RequestHeader, body: Option<usize>) {
    let mut sent = received.clone();
    sent.set_version(Version::HTTP_11);
    assert!(!sent.headers.contains_key(TRANSFER_ENCODING), "{received:?}");
    let wire = http_req_header_to_wire(&sent).expect("a head");
    let read = head::strict(&wire).unwrap_or_else(|| panic!("not one head: {}", wire.escape_ascii()));
    let declared = sent.headers.get(CONTENT_LENGTH).map(|value| value.as_bytes().to_vec());
    assert_eq!(read.length, declared, "{}", wire.escape_ascii());
    let length = declared.map(|digits| String::from_utf8(digits).unwrap().parse::<usize>().unwrap());
    assert!(body.is_none() || length.is_none() || body == length, "{length:?} declared, {body:?} received");
}
