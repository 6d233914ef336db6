//! Requests as raw bytes on a socket.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::reply::Reply;

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends these bytes and reads until the server closes: the request should say `Connection: close`.
/// `None` if it closes without a response.
pub async fn exchange(authority: &str, request: &[u8]) -> Option<Reply> {
    parse(bytes(authority, request).await.as_bytes())
}

/// The same, and returns the raw response.
pub async fn bytes(authority: &str, request: &[u8]) -> String {
    let talk = async {
        let mut socket = TcpStream::connect(authority).await.expect("a listening gateway");
        socket.write_all(request).await.expect("bytes that are taken");
        let mut response = Vec::new();
        // A reset after the response counts as its end.
        let _ = socket.read_to_end(&mut response).await;
        response
    };
    let response = tokio::time::timeout(PATIENCE, talk).await.expect("a response that ends");
    String::from_utf8_lossy(&response).into_owned()
}

/// A GET of this request target with these header lines.
pub async fn get(authority: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = format!("GET {target} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request.push_str(&format!("Host: {authority}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    exchange(authority, request.as_bytes()).await.expect("a response")
}

/// A response that was read to its end; `None`: it is none.
pub fn parse(response: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(response);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.trim()).ok()?);
    }
    let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
    let body = if chunked { dechunk(body) } else { body.to_owned() };
    Some(Reply { status, headers, body })
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
