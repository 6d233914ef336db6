//! Bodies of type `multipart/form-data` (RFC 7578): reading their parts and removing some of them.

use bytes::Bytes;
use futures::FutureExt;

/// A part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name; `None` if there is none, or it is not UTF-8.
    pub name: Option<String>,
    /// The content.
    pub value: Bytes,
}

/// Whether the body could be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Read to the end.
    Whole,
    /// Not read to the end: it is malformed, or its type has no boundary.
    Partial,
}

/// The parts up to the end of the body, or up to where it is malformed.
pub fn read(content_type: &str, body: &Bytes) -> (Vec<Part>, Extent) {
    let mut read = Vec::new();
    let Ok(boundary) = multer::parse_boundary(content_type) else { return (read, Extent::Partial) };
    let whole = futures::stream::iter([Ok::<_, std::convert::Infallible>(body.clone())]);
    let reading = async {
        let mut parts = multer::Multipart::new(whole, boundary);
        loop {
            match parts.next_field().await {
                Ok(None) => return Extent::Whole,
                Err(_) => return Extent::Partial,
                Ok(Some(part)) => {
                    let name = part.name().map(str::to_owned);
                    let Ok(value) = part.bytes().await else { return Extent::Partial };
                    read.push(Part { name, value });
                }
            }
        }
    };
    // The whole body is in memory, so reading never waits.
    let extent = reading.now_or_never().unwrap_or(Extent::Partial);
    (read, extent)
}

/// The body without the parts that `remove` selects, the rest byte for byte; `None` if the bounds of the
/// parts are ambiguous: what is returned was read again, and has no such part.
pub fn without(content_type: &str, body: &Bytes, remove: impl Fn(&Part) -> bool) -> Option<Vec<u8>> {
    let boundary = multer::parse_boundary(content_type).ok()?;
    let (parts, Extent::Whole) = read(content_type, body) else { return None };
    let delimiters = delimiters(body, format!("--{boundary}").as_bytes());
    let (Some(first), Some(last)) = (delimiters.first(), delimiters.last()) else { return None };
    // One delimiter before the first part, and one after each.
    if delimiters.len() != parts.len() + 1 {
        return None;
    }
    let mut left = body.get(..*first)?.to_vec();
    for (part, ends) in parts.iter().zip(delimiters.windows(2)) {
        if let ([start, end], false) = (ends, remove(part)) {
            left.extend_from_slice(body.get(*start..*end)?);
        }
    }
    left.extend_from_slice(body.get(*last..)?);
    // The reader may have found a delimiter where no line begins.
    let left = Bytes::from(left);
    let (kept, extent) = read(content_type, &left);
    let expected = parts.iter().filter(|part| !remove(part));
    (extent == Extent::Whole && kept.iter().eq(expected)).then(|| left.into())
}

/// The positions of lines that begin with the delimiter, up to the closing one: what follows is no part (RFC 2046
/// §5.1.1).
fn delimiters(body: &[u8], delimiter: &[u8]) -> Vec<usize> {
    let begins_line = |at: usize| at == 0 || body.get(..at).is_some_and(|before| before.ends_with(b"\r\n"));
    let closes = |at: usize| body.get(at + delimiter.len()..).is_some_and(|rest| rest.starts_with(b"--"));
    let found = body.windows(delimiter.len()).enumerate().filter(|(_, window)| *window == delimiter);
    let mut delimiters = Vec::new();
    for at in found.map(|(at, _)| at).filter(|at| begins_line(*at)) {
        delimiters.push(at);
        if closes(at) {
            break;
        }
    }
    delimiters
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b";

    fn part(name: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    fn left(body: &str) -> Option<String> {
        let named = |part: &Part| part.name.as_deref() == Some("t");
        without(TYPE, &Bytes::copy_from_slice(body.as_bytes()), named).map(|left| String::from_utf8(left).unwrap())
    }

    #[test]
    fn parts_are_removed_and_the_rest_stays_byte_for_byte() {
        let (a, t, z) = (part("a", "1\r\n\r\n--c"), part("t", "secret"), part("z", "\u{0}\r\n"));
        for (body, wanted) in [
            (format!("{a}{t}{z}--b--\r\n"), format!("{a}{z}--b--\r\n")),
            (format!("{t}{a}{t}--b--"), format!("{a}--b--")),
            (format!("{t}--b--\r\n"), "--b--\r\n".to_owned()),
            (format!("{a}--b--\r\nend"), format!("{a}--b--\r\nend")),
            (format!("{t}--b--\r\n--b--\r\n"), "--b--\r\n--b--\r\n".to_owned()),
            (format!("before\r\n{t}--b--"), "before\r\n--b--".to_owned()),
        ] {
            assert_eq!(left(&body), Some(wanted), "{body}");
        }
    }

    #[test]
    fn a_body_with_ambiguous_parts_is_not_changed() {
        let t = part("t", "secret");
        for body in ["", "--b", &t, &format!("{t}--b\r\nx"), &format!("{}--b--", part("a", "\r\n--bc\r\n") + &t)] {
            assert_eq!(left(body), None, "{body}");
        }
        // A reader finds the first delimiter although no line begins there: the part would stay, and what follows the
        // last one would go.
        assert_eq!(left(&format!("before{t}--b--after\r\n--b--")), None);
        let body = Bytes::from(format!("{t}--b--"));
        assert_eq!(without("multipart/form-data", &body, |_| true), None);
    }
}
