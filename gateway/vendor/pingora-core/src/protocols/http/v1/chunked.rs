// Copyright 2026 Cloudflare, Inc.
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
// http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

//! The grammar of the chunked coding ([RFC 9112 section 7.1]), beyond finding where a chunk ends.
//!
//! What is let through here is read, and often dropped, by this side alone: another parser on the
//! way may see the end of the message elsewhere.
//!
//! [RFC 9112 section 7.1]: https://www.rfc-editor.org/rfc/rfc9112.html#section-7.1

/// Whether the line that begins a chunk, without its CRLF, has a size and, behind a semicolon, only
/// what extensions may have.
///
/// Some servers fill the size up with spaces, so `padded` sizes are for the caller to allow.
pub(super) fn is_chunk_head(line: &[u8], padded: bool) -> bool {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii_start();
    let extension = match rest.first() {
        None => padded || line.len() == digits,
        Some(b';') => true,
        Some(_) => false,
    };
    digits > 0 && extension && line.iter().all(|b| is_field_byte(*b))
}

/// Whether more bytes can make a chunk's first line of these.
pub(super) fn begins_chunk_head(bytes: &[u8]) -> bool {
    let line = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    line.is_empty() || line[0].is_ascii_hexdigit() && line.iter().all(|b| is_field_byte(*b))
}

/// Whether bytes that came with a header can be the start of a chunked body.
pub(super) fn begins_chunked_body(mut bytes: &[u8]) -> bool {
    loop {
        match httparse::parse_chunk_size(bytes) {
            Err(_) => return false,
            Ok(httparse::Status::Partial) => return begins_chunk_head(bytes),
            Ok(httparse::Status::Complete((start, size))) => {
                if !is_chunk_head(&bytes[..start - 2], false) {
                    return false;
                }
                let data = &bytes[start..];
                if size == 0 {
                    return Trailers::default().read(data).is_ok();
                }
                let Some(rest) = usize::try_from(size).ok().and_then(|size| data.get(size..))
                else {
                    return true;
                };
                match rest {
                    [b'\r', b'\n', next @ ..] => bytes = next,
                    rest => return b"\r\n".starts_with(rest),
                }
            }
        }
    }
}

/// Reads the trailer section: the fields behind the last chunk, and the empty line that ends them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trailers {
    #[default]
    LineStart,
    Name,
    Value,
    LineEnd,
    SectionEnd,
    Done,
}

/// A byte that no trailer section can have where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidTrailers;

impl Trailers {
    /// Read on. Bytes behind the end are not looked at.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), InvalidTrailers> {
        for byte in bytes {
            *self = match (*self, byte) {
                (Trailers::Done, _) => return Ok(()),
                (Trailers::LineStart, b'\r') => Trailers::SectionEnd,
                (Trailers::LineStart | Trailers::Name, b) if is_token_byte(*b) => Trailers::Name,
                (Trailers::Name, b':') => Trailers::Value,
                (Trailers::Value, b'\r') => Trailers::LineEnd,
                (Trailers::Value, b) if is_field_byte(*b) => Trailers::Value,
                (Trailers::LineEnd, b'\n') => Trailers::LineStart,
                (Trailers::SectionEnd, b'\n') => Trailers::Done,
                _ => return Err(InvalidTrailers),
            };
        }
        Ok(())
    }
}

/// What a field value may have.
fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_begins_with_a_size() {
        for line in ["5", "0aF", "5;a", "5 ;a=\"b c\"", "5\t; x=\u{e4}"] {
            assert!(is_chunk_head(line.as_bytes(), false), "{line:?}");
            assert!(begins_chunk_head(line.as_bytes()), "{line:?}");
        }
        for line in [
            "", ";a", " 5", "5 a", "5;a\0", "5;a\nb", "5;\x7f", "-5", "0x5", "5 ",
        ] {
            assert!(!is_chunk_head(line.as_bytes(), false), "{line:?}");
        }
        assert!(is_chunk_head(b"5  ", true));
        assert!(begins_chunk_head(b"") && begins_chunk_head(b"5\r"));
        assert!(!begins_chunk_head(b"5;\n"));
    }

    #[test]
    fn trailers_are_fields() {
        for (section, expected) in [
            ("\r\n", Ok(Trailers::Done)),
            ("A: b\r\nC:\r\n\r\nGET \0", Ok(Trailers::Done)),
            ("A: b\r\n", Ok(Trailers::LineStart)),
            ("junk\r\n", Err(InvalidTrailers)),
            (": b\r\n", Err(InvalidTrailers)),
            (" A: b\r\n", Err(InvalidTrailers)),
            ("A : b\r\n", Err(InvalidTrailers)),
            ("A: b\nC: d\r\n", Err(InvalidTrailers)),
            ("A: \0\r\n", Err(InvalidTrailers)),
            ("\n", Err(InvalidTrailers)),
        ] {
            let whole =
                |mut trailers: Trailers| trailers.read(section.as_bytes()).map(|()| trailers);
            let bytewise = |mut trailers: Trailers| {
                let mut bytes = section.as_bytes().chunks(1);
                bytes
                    .try_for_each(|byte| trailers.read(byte))
                    .map(|()| trailers)
            };
            assert_eq!(whole(Trailers::default()), expected, "{section:?}");
            assert_eq!(bytewise(Trailers::default()), expected, "{section:?}");
        }
    }

    #[test]
    fn what_came_with_the_header_is_checked_as_far_as_it_goes() {
        let body = "3\r\nabc\r\n1;x\r\nd\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        for end in 0..=body.len() {
            assert!(
                begins_chunked_body(&body.as_bytes()[..end]),
                "{:?}",
                &body[..end]
            );
        }
        for body in [
            "\r\n",
            "3\r\nabcd",
            "3\r\nabc\r\n\r\n",
            "0\r\njunk\r\n\r\n",
            "3;\0\r\nabc",
            "g",
        ] {
            assert!(!begins_chunked_body(body.as_bytes()), "{body:?}");
        }
    }
}
