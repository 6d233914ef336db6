//! The spelling of header names, where it is not the usual one.
//!
//! Most peers spell names with a capital at the start of each word (`Content-Type`). Of those,
//! nothing is kept: the spelling is made again when the header is written. Other spellings
//! (`content-type`, `ETag`) are kept, one for each value of the name.

use crate::case_header_name::CaseHeaderName;
use bytes::BufMut;
use http::{HeaderMap, HeaderName};

/// Spellings beside a map of values, which tells their number and order.
#[derive(Debug, Clone, Default)]
pub(crate) struct CaseMap {
    // Invariant: a name has either no entry, or one for each of its values, in their order.
    kept: Vec<(HeaderName, CaseHeaderName)>,
}

/// How a name is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spelling<'a> {
    /// As it was spelled.
    Kept(&'a CaseHeaderName),
    /// With a capital at the start of each word.
    Titled(&'a HeaderName),
}

impl CaseMap {
    /// A value is about to be appended to those that `values` has of this name.
    #[inline]
    pub(crate) fn append<T>(&mut self, name: &HeaderName, spelled: &[u8], values: &HeaderMap<T>) {
        if is_titled(spelled) && (self.kept.is_empty() || !self.has(name)) {
            return;
        }
        self.keep(name, spelled, values);
    }

    #[cold]
    fn keep<T>(&mut self, name: &HeaderName, spelled: &[u8], values: &HeaderMap<T>) {
        if !self.has(name) {
            for _ in 0..values.get_all(name).iter().count() {
                self.kept.push((name.clone(), titled(name)));
            }
        }
        self.kept.push((name.clone(), CaseHeaderName::from_slice(spelled)));
    }

    /// A value is about to replace all values of this name.
    #[inline]
    pub(crate) fn insert(&mut self, name: &HeaderName, spelled: &[u8]) {
        if !self.kept.is_empty() {
            self.kept.retain(|(kept, _)| kept != name);
        }
        if !is_titled(spelled) {
            self.kept.push((name.clone(), CaseHeaderName::from_slice(spelled)));
        }
    }

    /// Values were removed: spellings stay for the names that `values` still has.
    #[inline]
    pub(crate) fn retain<T>(&mut self, values: &HeaderMap<T>) {
        if !self.kept.is_empty() {
            self.kept.retain(|(kept, _)| values.contains_key(kept));
        }
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.kept.iter().any(|(kept, _)| kept == name)
    }

    /// The values with the spelling of their names, in the order of the map.
    pub(crate) fn iter<'a, T>(
        &'a self,
        values: &'a HeaderMap<T>,
    ) -> impl Iterator<Item = (Spelling<'a>, &'a T)> {
        let mut last: Option<&HeaderName> = None;
        let mut nth = 0;
        values.iter().map(move |(name, value)| {
            if self.kept.is_empty() {
                return (Spelling::Titled(name), value);
            }
            // values of one name follow each other
            nth = if last == Some(name) { nth + 1 } else { 0 };
            last = Some(name);
            let mut spelled = self.kept.iter().filter(|(kept, _)| kept == name);
            let spelling = match spelled.nth(nth) {
                Some((_, spelled)) => Spelling::Kept(spelled),
                None => Spelling::Titled(name),
            };
            (spelling, value)
        })
    }
}

impl Spelling<'_> {
    #[inline]
    pub(crate) fn write(self, buf: &mut impl BufMut) {
        match self {
            Self::Kept(name) => buf.put_slice(name.as_slice()),
            Self::Titled(name) => put_titled(name.as_str().as_bytes(), buf),
        }
    }

    pub(crate) fn to_case_header_name(self) -> CaseHeaderName {
        match self {
            Self::Kept(name) => name.clone(),
            Self::Titled(name) => titled(name),
        }
    }
}

/// Whether each word, and no other letter, begins with a capital.
#[inline]
fn is_titled(name: &[u8]) -> bool {
    let mut at_start = true;
    for &byte in name {
        let usual = if at_start {
            !byte.is_ascii_lowercase()
        } else {
            !byte.is_ascii_uppercase()
        };
        if !usual {
            return false;
        }
        at_start = byte == b'-';
    }
    true
}

fn titled(name: &HeaderName) -> CaseHeaderName {
    let mut spelled = Vec::with_capacity(name.as_str().len());
    put_titled(name.as_str().as_bytes(), &mut spelled);
    CaseHeaderName::from_slice(&spelled)
}

#[inline]
fn put_titled(name: &[u8], buf: &mut impl BufMut) {
    // in pieces, for names of any length
    for (nth, piece) in name.chunks(64).enumerate() {
        let mut spelled = [0; 64];
        let mut at_start = nth == 0 || name[nth * 64 - 1] == b'-';
        for (to, &byte) in spelled.iter_mut().zip(piece) {
            *to = if at_start { byte.to_ascii_uppercase() } else { byte };
            at_start = byte == b'-';
        }
        buf.put_slice(&spelled[..piece.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written after these names were appended, in one map.
    fn written(names: &[&'static str]) -> Vec<String> {
        let (mut map, mut values) = (CaseMap::default(), HeaderMap::<()>::default());
        for spelled in names {
            let name = HeaderName::from_bytes(spelled.as_bytes()).unwrap();
            map.append(&name, spelled.as_bytes(), &values);
            values.append(name, ());
        }
        map.iter(&values)
            .map(|(spelling, _)| {
                let mut buf = Vec::new();
                spelling.write(&mut buf);
                String::from_utf8(buf).unwrap()
            })
            .collect()
    }

    #[test]
    fn names_are_written_as_they_were_spelled() {
        let long = "X-".to_owned() + &"a".repeat(61) + "-B-" + &"c".repeat(80);
        let long: &'static str = long.leak();
        for names in [
            &["Content-Type", "X-Kong-Request-Id", "Host", "X--2x-Y", long][..],
            &["content-type", "ETag", "hOST"],
            // all values of a name stand where its first does
            &["Foo", "foo", "FOO", "Bar", "bar"],
            &["FOO", "Foo", "bar"],
        ] {
            assert_eq!(written(names), names);
        }
    }

    #[test]
    fn a_usual_spelling_is_not_kept() {
        let mut map = CaseMap::default();
        map.append(&http::header::HOST, b"Host", &HeaderMap::<()>::default());
        assert!(map.kept.is_empty());
    }

    #[test]
    fn an_insertion_replaces_spellings_and_a_removal_removes_them() {
        let (mut map, values) = (CaseMap::default(), HeaderMap::<()>::default());
        map.append(&http::header::HOST, b"HOST", &values);
        map.insert(&http::header::HOST, b"hosT");
        assert_eq!(map.kept.len(), 1);
        map.insert(&http::header::HOST, b"Host");
        assert!(map.kept.is_empty());
        map.append(&http::header::HOST, b"HOST", &values);
        map.retain(&values);
        assert!(map.kept.is_empty());
    }
}
