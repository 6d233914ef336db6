//! Chunked bodies: the gateway finds the same body as a strict decoder, or refuses it as that one does, however the
//! bytes are cut.

use crate::connection;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Longer extensions and trailer sections are refused for their length.
const LIMIT: usize = 4096;

/// The first byte says where the body is cut.
pub fn chunked(data: &[u8]) {
    let Some((cut, body)) = data.split_first() else { return };
    let body = &body[..body.len().min(LIMIT)];
    let expected = strict(body);
    let at_once = [HEAD, body].concat();
    let (first, second) = body.split_at(body.len() * usize::from(*cut) / 256);
    for pieces in [&[at_once.as_slice()][..], &[HEAD, body], &[HEAD, first, second]] {
        assert_eq!(
            expected,
            received(pieces),
            "{:?}",
            pieces.iter().map(|piece| piece.escape_ascii()).collect::<Vec<_>>()
        );
    }
}

/// `None`: an error.
fn received(pieces: &[&[u8]]) -> Option<Vec<u8>> {
    connection::run(connection::with(pieces, async |session| {
        session.read_request().await.ok().flatten()?;
        let mut body = Vec::new();
        while let Some(piece) = session.read_body_bytes().await.ok()? {
            body.extend_from_slice(&piece);
        }
        Some(body)
    }))
}

/// RFC 9112 §7.1; `None`: it is malformed, or has no end.
fn strict(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = take_line(&mut rest)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        let spaces = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if digits == 0 || digits > 16 || !extension.is_empty() && extension.get(spaces) != Some(&b';') {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let (data, after) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        body.extend_from_slice(data);
        rest = after.strip_prefix(b"\r\n")?;
    }
    loop {
        let line = take_line(&mut rest)?;
        if line.is_empty() {
            return Some(body);
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if colon == 0 || !line[..colon].iter().all(is_token) {
            return None;
        }
    }
}

/// Up to CRLF, which is the first control character but for tabs.
fn take_line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = rest.iter().position(|byte| *byte != b'\t' && (*byte < b' ' || *byte == 0x7f))?;
    let (line, after) = rest.split_at(length);
    *rest = after.strip_prefix(b"\r\n")?;
    Some(line)
}
