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
    kept: Kept,
}

/// The spellings by name. A peer chooses how many there are, so that looking one up must not take
/// longer the more there are; few are found fastest by looking at each.
#[derive(Debug, Clone)]
enum Kept {
    Few(Vec<(HeaderName, CaseHeaderName)>),
    Many(Box<HeaderMap<CaseHeaderName>>),
}

/// As many are few.
const FEW: usize = 16;

impl Default for Kept {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Kept {
    #[inline]
    fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    fn has(&self, name: &HeaderName) -> bool {
        match self {
            Self::Few(few) => few.iter().any(|(kept, _)| kept == name),
            Self::Many(many) => many.contains_key(name),
        }
    }

    fn push(&mut self, name: HeaderName, spelled: CaseHeaderName) {
        match self {
            Self::Few(few) if few.len() < FEW => few.push((name, spelled)),
            Self::Few(few) => {
                let mut many: HeaderMap<_> = HeaderMap::with_capacity(4 * FEW);
                for (name, spelled) in few.drain(..) {
                    many.append(name, spelled);
                }
                many.append(name, spelled);
                *self = Self::Many(Box::new(many));
            }
            // More names than a map can hold are refused where their values are put into one.
            Self::Many(many) => drop(many.try_append(name, spelled)),
        }
    }

    fn remove(&mut self, name: &HeaderName) {
        match self {
            Self::Few(few) => few.retain(|(kept, _)| kept != name),
            Self::Many(many) => drop(many.remove(name)),
        }
    }

    fn spellings<'a>(&'a self, name: &'a HeaderName) -> Spellings<'a> {
        match self {
            Self::Few(few) => Spellings::Few(name, few.iter()),
            Self::Many(many) => Spellings::Many(many.get_all(name).into_iter()),
        }
    }
}

/// The spellings of one name, in the order of its values.
enum Spellings<'a> {
    Few(&'a HeaderName, std::slice::Iter<'a, (HeaderName, CaseHeaderName)>),
    Many(http::header::ValueIter<'a, CaseHeaderName>),
}

impl<'a> Iterator for Spellings<'a> {
    type Item = &'a CaseHeaderName;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(name, few) => few.find(|(kept, _)| kept == *name).map(|(_, spelled)| spelled),
            Self::Many(many) => many.next(),
        }
    }
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
        if is_titled(spelled) && (self.kept.is_empty() || !self.kept.has(name)) {
            return;
        }
        self.keep(name, spelled, values);
    }

    #[cold]
    fn keep<T>(&mut self, name: &HeaderName, spelled: &[u8], values: &HeaderMap<T>) {
        if !self.kept.has(name) {
            for _ in 0..values.get_all(name).iter().count() {
                self.kept.push(name.clone(), titled(name));
            }
        }
        self.kept.push(name.clone(), CaseHeaderName::from_slice(spelled));
    }

    /// A value is about to replace all values of this name.
    #[inline]
    pub(crate) fn insert(&mut self, name: &HeaderName, spelled: &[u8]) {
        if !self.kept.is_empty() {
            self.kept.remove(name);
        }
        if !is_titled(spelled) {
            self.kept.push(name.clone(), CaseHeaderName::from_slice(spelled));
        }
    }

    /// All values of this name were removed.
    #[inline]
    pub(crate) fn remove(&mut self, name: &HeaderName) {
        if !self.kept.is_empty() {
            self.kept.remove(name);
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The values with the spelling of their names, in the order of the map.
    pub(crate) fn iter<'a, T>(
        &'a self,
        values: &'a HeaderMap<T>,
    ) -> impl Iterator<Item = (Spelling<'a>, &'a T)> {
        let mut current: Option<(&HeaderName, Spellings<'a>)> = None;
        values.iter().map(move |(name, value)| {
            if self.kept.is_empty() {
                return (Spelling::Titled(name), value);
            }
            // values of one name follow each other
            let spellings = match &mut current {
                Some((of, spellings)) if *of == name => spellings,
                _ => &mut current.insert((name, self.kept.spellings(name))).1,
            };
            let spelling = match spellings.next() {
                Some(spelled) => Spelling::Kept(spelled),
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
        assert!(map.is_empty());
    }

    #[test]
    fn many_spellings_are_kept_as_few_are() {
        let names = (0..100).map(|nth| match nth % 4 {
            0 => format!("x-{nth}"),
            1 => format!("X-{nth}-Titled"),
            2 => format!("xX-{nth}"),
            // later values of a name that has others in between are written behind its first
            _ => "z-Last".to_owned(),
        });
        let mut names: Vec<String> = names.collect();
        names.sort_by_key(|name| name.starts_with('z'));
        let names: Vec<&'static str> = names.into_iter().map(|name| &*name.leak()).collect();
        assert_eq!(written(&names), names);
    }

    #[test]
    fn a_peer_cannot_make_names_expensive_by_their_number() {
        // The best of several runs, which other processes disturb least, with a wide margin: a
        // search among all names takes 256 times as long for 16 times as many.
        let best = |count: usize| {
            let names: Vec<&'static str> = (0..count).map(|n| &*format!("x-{n}").leak()).collect();
            let timed = || {
                let start = std::time::Instant::now();
                assert_eq!(written(&names).len(), count);
                start.elapsed()
            };
            (0..20).map(|_| timed()).min().unwrap()
        };
        let (some, many) = (best(250), best(4000));
        assert!(many < some * 16 * 6, "{some:?} for 250 names, {many:?} for 4000");
    }

    #[test]
    fn an_insertion_replaces_spellings_and_a_removal_removes_them() {
        let (mut map, values) = (CaseMap::default(), HeaderMap::<()>::default());
        map.append(&http::header::HOST, b"HOST", &values);
        map.insert(&http::header::HOST, b"hosT");
        assert_eq!(map.kept.spellings(&http::header::HOST).count(), 1);
        map.insert(&http::header::HOST, b"Host");
        assert!(map.is_empty());
        map.append(&http::header::HOST, b"HOST", &values);
        map.remove(&http::header::HOST);
        assert!(map.is_empty());
    }
}
