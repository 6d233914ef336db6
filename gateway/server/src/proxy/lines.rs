//! Header lines: fields added to a head on its way out, after those it was received with.
//!
//! Pingora with our patches writes them as lines after its map of headers. Pingora as published has
//! only the map, so they are added to it. Nothing else in the gateway depends on which of the two is in use.

use http::{HeaderMap, HeaderName, HeaderValue};
#[cfg(pingora_patched)]
pub(super) use pingora::http::LineName;
use pingora::http::{RequestHeader, ResponseHeader};

/// A field name in a line, with its spelling.
#[cfg(not(pingora_patched))]
#[derive(Debug, Clone, Copy)]
pub struct LineName(&'static str);

#[cfg(not(pingora_patched))]
impl LineName {
    /// Whether it is a field name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }
}

/// What [`Edited`](super::head::Edited) needs of Pingora's two kinds of heads.
///
/// A field that is refused is omitted: an invalid value, or one field too many for a
/// map of 32,768, which no checked head has.
pub trait Lines {
    /// The map of headers.
    fn headers(&self) -> &HeaderMap;
    /// Replaces all values of a name in the map.
    fn insert(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Removes all values of a name from the map.
    fn remove(&mut self, name: &HeaderName);
    /// Reserves this number of bytes for lines.
    fn reserve_lines(&mut self, bytes: usize);
    /// Adds a line.
    fn push_line(&mut self, name: LineName, value: &[u8]);
    /// Adds a line with a lower-case name and a checked value.
    fn push_header(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Adds lines rendered beforehand, including their line ends.
    fn push_lines(&mut self, lines: &[u8]);
    /// Removes all lines of a name.
    fn remove_lines(&mut self, name: &HeaderName);
}

#[cfg(pingora_patched)]
macro_rules! in_lines_or_map {
    () => {
        fn reserve_lines(&mut self, bytes: usize) {
            self.lines_mut().reserve(bytes);
        }

        fn push_line(&mut self, name: LineName, value: &[u8]) {
            let _ = self.lines_mut().push(name, value);
        }

        fn push_header(&mut self, name: &HeaderName, value: &HeaderValue) {
            self.lines_mut().push_header(name, value);
        }

        fn push_lines(&mut self, lines: &[u8]) {
            self.lines_mut().push_lines(lines);
        }

        fn remove_lines(&mut self, name: &HeaderName) {
            self.lines_mut().remove(name);
        }
    };
}

#[cfg(not(pingora_patched))]
macro_rules! in_lines_or_map {
    () => {
        fn reserve_lines(&mut self, _: usize) {}

        fn push_line(&mut self, name: LineName, value: &[u8]) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                let _ = self.append_header(name.0, value);
            }
        }

        fn push_header(&mut self, name: &HeaderName, value: &HeaderValue) {
            let _ = self.append_header(name.as_str().to_owned(), value.clone());
        }

        fn push_lines(&mut self, lines: &[u8]) {
            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                let colon = line.iter().position(|&byte| byte == b':');
                let Some((name, value)) = colon.and_then(|colon| line.split_at_checked(colon)) else { continue };
                let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
                if let (Ok(name), Ok(value)) = (String::from_utf8(name.to_vec()), value) {
                    let _ = self.append_header(name, value);
                }
            }
        }

        fn remove_lines(&mut self, name: &HeaderName) {
            self.remove(name);
        }
    };
}

macro_rules! lines {
    ($head:ty) => {
        impl Lines for $head {
            fn headers(&self) -> &HeaderMap {
                &self.headers
            }

            fn insert(&mut self, name: &HeaderName, value: &HeaderValue) {
                let _ = self.insert_header(name, value.clone());
            }

            fn remove(&mut self, name: &HeaderName) {
                self.remove_header(name);
            }

            in_lines_or_map! {}
        }
    };
}

lines!(RequestHeader);
lines!(ResponseHeader);
