//! Heads of HTTP/1 requests: what the gateway accepts, a strict parser accepts too, and both find the same framing; it
//! makes no difference how a head is cut into pieces.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use tollgate::proxy::{Limits, framing};

use crate::connection;

/// A request's framing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    pub(crate) chunked: bool,
    pub(crate) length: Option<Vec<u8>>,
}

/// The first byte says where the head is cut.
pub fn heads(data: &[u8]) {
    let Some((cut, message)) = data.split_first() else { return };
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").map_or(message.len(), |at| at + 4);
    let head = &message[..end];
    let whole = accepted(&[head]);
    let (first, second) = head.split_at(head.len() * usize::from(*cut) / 256);
    assert_eq!(whole, accepted(&[first, second]), "cut at {}: {}", first.len(), head.escape_ascii());
    if let Some(framing) = whole {
        assert_eq!(Some(framing), strict(head), "{}", head.escape_ascii());
    }
}

/// What the gateway makes of a head; `None`: it refuses it.
fn accepted(pieces: &[&[u8]]) -> Option<Framing> {
    connection::run(connection::with(pieces, async |session| {
        session.read_request().await.ok().flatten()?;
        let head = session.req_header();
        framing::check(head, Some(&session.get_headers_raw_bytes()), &Limits::default()).ok()?;
        let length = head.headers.get(CONTENT_LENGTH).map(|value| value.as_bytes().to_vec());
        Some(Framing { chunked: head.headers.contains_key(TRANSFER_ENCODING), length })
    }))
}

/// RFC 9112 §2 to §6, without anything that a recipient may tolerate but for empty lines before the request.
pub(crate) fn strict(mut head: &[u8]) -> Option<Framing> {
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    let text = head.strip_suffix(b"\r\n\r\n")?;
    let mut lines = split_lines(text)?.into_iter();
    let request: Vec<_> = lines.next()?.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.0" | b"HTTP/1.1"] = request.as_slice() else { return None };
    if !is_token(method) || target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return None;
    }
    let mut framing = Framing { chunked: false, length: None };
    for line in lines {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let value = value[1..].trim_ascii();
        if !is_token(name) || value.iter().any(|byte| *byte != b'\t' && *byte < b' ' || *byte == 0x7f) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let again = std::mem::replace(&mut framing.chunked, true);
            if again || !value.eq_ignore_ascii_case(b"chunked") {
                return None;
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            if !digits || framing.length.replace(value.to_vec()).is_some() {
                return None;
            }
        }
    }
    (!framing.chunked || framing.length.is_none()).then_some(framing)
}

/// Lines end in CRLF, and neither byte is anywhere else.
fn split_lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    let last = lines.len() - 1;
    let line = |(nth, line): (usize, &&'_ [u8])| {
        let line: &[u8] = line;
        let line = if nth == last { line } else { line.strip_suffix(b"\r")? };
        (!line.contains(&b'\r')).then_some(())
    };
    lines.iter().enumerate().map(line).collect::<Option<()>>()?;
    Some(lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect())
}

fn is_token(text: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_token)
}
