//! Header fields that are only written: each a line in the form of HTTP/1, behind those of the map.

use http::header::{HeaderName, HeaderValue};
use http::HeaderMap;
use pingora_error::{Error, ErrorType::InvalidHTTPHeader, Result};

/// A field name in a line, as it is to be spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineName(&'static str);

impl LineName {
    /// # Panics
    /// When it is not a field name; in a constant, the compiler says so.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'_'),
                "a byte that no field name has here"
            );
            at += 1;
        }
        assert!(!bytes.is_empty(), "an empty field name");
        Self(name)
    }
}

/// Fields that are added to a head on its way out and looked up by nobody.
///
/// A line costs a copy, where a field of the map costs a hash, a place in the map and, often, an
/// allocation. What is here is not seen in the map, so it is for names that the map does not have,
/// and for the last hands that a head goes through.
#[derive(Debug, Clone, Default)]
pub struct HeaderLines(Vec<u8>);

impl HeaderLines {
    /// Adds a field.
    ///
    /// # Errors
    /// When the value has a byte that no field value has.
    #[inline]
    pub fn push(&mut self, name: LineName, value: &[u8]) -> Result<()> {
        // without leaving early: then the compiler looks at many bytes at once
        let forbidden = |&byte: &u8| (byte < b' ' && byte != b'\t') | (byte == 127);
        if value.iter().fold(false, |any, byte| any | forbidden(byte)) {
            return Error::e_explain(InvalidHTTPHeader, "header line with a forbidden byte");
        }
        self.write(name.0, value);
        Ok(())
    }

    /// Adds a field whose value was checked before.
    #[inline]
    pub fn push_value(&mut self, name: LineName, value: &HeaderValue) {
        self.write(name.0, value.as_bytes());
    }

    /// Adds a field that was checked before, its name in lower case.
    #[inline]
    pub fn push_header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.write(name.as_str(), value.as_bytes());
    }

    /// Adds lines that were written beforehand, each in the form of [`Self::push`], the end included.
    #[inline]
    pub fn push_lines(&mut self, lines: &[u8]) {
        debug_assert!(lines.is_empty() || lines.ends_with(b"\r\n"));
        self.0.extend_from_slice(lines);
    }

    #[inline]
    fn write(&mut self, name: &str, value: &[u8]) {
        self.0.reserve(name.len() + value.len() + 4);
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// Removes all fields of this name.
    pub fn remove(&mut self, name: &HeaderName) {
        let is_other = |line: &&[u8]| {
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(0);
            !line[..colon].eq_ignore_ascii_case(name.as_str().as_bytes())
        };
        let lines = self.0.split_inclusive(|&byte| byte == b'\n');
        self.0 = lines.filter(is_other).collect::<Vec<_>>().concat();
    }

    /// Makes room for so many bytes at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where there are no lines to be written (HTTP/2), the fields join the map.
    pub(crate) fn append_to(&self, map: &mut HeaderMap) {
        for line in self.0.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii_start());
            // each line was checked when it was pushed
            if let (Ok(name), Ok(value)) = (name, value) {
                // fails only for a map of more than 32,768 fields
                let _ = map.try_append(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LineName = LineName::new("X-One");

    #[test]
    fn lines_are_written_and_join_the_map() {
        let mut lines = HeaderLines::default();
        lines.push(ONE, b"1: a").unwrap();
        lines.push_header(&http::header::VIA, &HeaderValue::from_static(""));
        lines.push_value(LineName::new("X-Two"), &HeaderValue::from_static("b"));
        assert_eq!(lines.as_bytes(), b"X-One: 1: a\r\nvia: \r\nX-Two: b\r\n");
        let mut map = HeaderMap::new();
        lines.append_to(&mut map);
        assert_eq!((&map["x-one"], &map["via"], &map["x-two"], map.len()), (
            &HeaderValue::from_static("1: a"),
            &HeaderValue::from_static(""),
            &HeaderValue::from_static("b"),
            3
        ));
    }

    #[test]
    fn fields_are_removed_by_name_in_any_spelling() {
        let mut lines = HeaderLines::default();
        for (name, value) in [("X-One", "a"), ("X-Two", "x-one: b"), ("x-one", "c"), ("X-On", "d")] {
            lines.push(LineName::new(name), value.as_bytes()).unwrap();
        }
        lines.remove(&HeaderName::from_static("x-one"));
        assert_eq!(lines.as_bytes(), b"X-Two: x-one: b\r\nX-On: d\r\n");
    }

    #[test]
    fn nothing_smuggles_a_line() {
        let mut lines = HeaderLines::default();
        for value in [&b"1\r\nX-Two: 2"[..], b"1\nX-Two: 2", b"1\r", b"\0", b"\x7f"] {
            assert!(lines.push(ONE, value).is_err(), "{value:?}");
        }
        assert!(lines.is_empty());
        assert!(std::panic::catch_unwind(|| LineName::new("X One")).is_err());
        assert!(std::panic::catch_unwind(|| LineName::new("")).is_err());
    }

    #[test]
    fn the_bytes_of_a_field_value_are_accepted() {
        let mut lines = HeaderLines::default();
        lines.push(ONE, b"a\tb \xff").unwrap();
        assert_eq!(lines.as_bytes(), b"X-One: a\tb \xff\r\n");
    }
}
