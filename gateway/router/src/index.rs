//! From a request's host and path to the few matchers worth trying.
//!
//! A matcher is stored under each of its hosts and, within a host, under each of its path prefixes; a regex
//! under the literal text it starts with. A request is looked up under its own host, the wildcards that could
//! cover it and "any host", and there under the prefixes of its path. The result is a superset of the
//! matches: every candidate is checked completely, so hash collisions are harmless.

use std::collections::BTreeMap;

use regex_syntax::hir::Look;
use regex_syntax::hir::literal::Extractor;
use smallvec::SmallVec;
use tollgate_core::host::Host;

use crate::criteria::Query;
use crate::fast_hash::{FastMap, PrefixHashes, hash_of};
use crate::host::NamePattern;

/// A matcher's position in priority order; smaller ranks are tried first.
pub(crate) type Rank = u32;

/// With at most this many matchers under a host, hashing paths does not pay.
const FEW: usize = 4;

/// A path prefix under which a matcher is stored: its length, its last byte, and its hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FiledPrefix {
    bytes: usize,
    /// `None`: the prefix is empty.
    last: Option<u8>,
    hash: u64,
}

impl FiledPrefix {
    /// Of this text.
    pub(crate) fn new(prefix: &[u8]) -> Self {
        Self { bytes: prefix.len(), last: prefix.last().copied(), hash: hash_of(prefix) }
    }
}

/// Collects matchers and builds an [`Index`].
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder<'h> {
    exact: FastMap<&'h str, PathsBuilder>,
    suffixes: FastMap<&'h str, PathsBuilder>,
    prefixes: FastMap<&'h str, PathsBuilder>,
    any: PathsBuilder,
}

/// The finished index.
#[derive(Debug)]
pub(crate) struct Index {
    exact: FastMap<Box<str>, PathIndex>,
    suffixes: FastMap<Box<str>, PathIndex>,
    prefixes: FastMap<Box<str>, PathIndex>,
    any: PathIndex,
}

/// The matchers under one host, each with the prefix under which it is stored.
#[derive(Debug, Default)]
struct PathsBuilder(SmallVec<[(FiledPrefix, Rank); 1]>);

#[derive(Debug)]
enum PathIndex {
    /// All of them, in order.
    Few(Ranks),
    /// By the hash of the prefix, for each of the lengths that occur, ascending.
    Many { lengths: Box<[Length]>, filter: Filter, by_prefix: FastMap<u64, Ranks> },
}

type Ranks = SmallVec<[Rank; 4]>;

/// A prefix length with a first filter: the last bytes of all prefixes of that length.
#[derive(Debug)]
struct Length {
    bytes: usize,
    last: [bool; 256],
}

/// Tells which hashes are not in a table: most lengths have no entry, and the filter stays in the CPU cache
/// when the table is too large for it.
#[derive(Debug)]
struct Filter(Box<[u64]>);

impl<'h> IndexBuilder<'h> {
    /// Reserves space for this many hosts.
    pub(crate) fn with_hosts(count: usize) -> Self {
        Self { exact: FastMap::with_capacity_and_hasher(count, Default::default()), ..Self::default() }
    }

    /// Stores a matcher under a host (`None`: any) and a path prefix. Ranks must be ascending.
    pub(crate) fn insert(&mut self, host: Option<&'h NamePattern>, prefix: &FiledPrefix, rank: Rank) {
        let paths = match host {
            Some(NamePattern::Exact(name)) => self.exact.entry(name).or_default(),
            // Only whole labels are looked up; a wildcard that covers part of a label is tried for every
            // host.
            Some(NamePattern::Suffix(name)) if name.starts_with('.') => self.suffixes.entry(name).or_default(),
            Some(NamePattern::Prefix(name)) if name.ends_with('.') => self.prefixes.entry(name).or_default(),
            Some(NamePattern::Suffix(_) | NamePattern::Prefix(_)) | None => &mut self.any,
        };
        paths.0.push((*prefix, rank));
    }

    /// Builds the index.
    pub(crate) fn build(self) -> Index {
        let finish = |map: FastMap<&str, PathsBuilder>| {
            map.into_iter().map(|(host, paths)| (host.into(), paths.build())).collect::<FastMap<_, _>>()
        };
        Index {
            exact: finish(self.exact),
            suffixes: finish(self.suffixes),
            prefixes: finish(self.prefixes),
            any: self.any.build(),
        }
    }
}

impl PathsBuilder {
    fn build(self) -> PathIndex {
        let mut ranks = Ranks::new();
        for (_, rank) in &self.0 {
            if ranks.last() != Some(rank) {
                ranks.push(*rank);
            }
            if ranks.len() > FEW {
                return self.by_prefix();
            }
        }
        PathIndex::Few(ranks)
    }

    fn by_prefix(self) -> PathIndex {
        let lengths = Length::all_of(self.0.iter().map(|(prefix, _)| prefix));
        let mut by_prefix: FastMap<u64, Ranks> = FastMap::with_capacity_and_hasher(self.0.len(), Default::default());
        for (prefix, rank) in self.0 {
            let ranks = by_prefix.entry(prefix.hash).or_default();
            if ranks.last() != Some(&rank) {
                ranks.push(rank);
            }
        }
        let filter = Filter::of(by_prefix.keys().copied());
        PathIndex::Many { lengths, filter, by_prefix }
    }
}

impl Length {
    /// The lengths that occur, ascending.
    fn all_of<'p>(prefixes: impl Iterator<Item = &'p FiledPrefix>) -> Box<[Self]> {
        let mut lengths: BTreeMap<usize, [bool; 256]> = BTreeMap::new();
        for prefix in prefixes {
            let last = lengths.entry(prefix.bytes).or_insert([prefix.bytes == 0; 256]);
            if let Some(seen) = prefix.last.and_then(|byte| last.get_mut(usize::from(byte))) {
                *seen = true;
            }
        }
        lengths.into_iter().map(|(bytes, last)| Self { bytes, last }).collect()
    }

    /// Whether the path's prefix of this length ends in the last byte of any stored prefix.
    fn may_end(&self, path: &[u8]) -> bool {
        let byte = self.bytes.checked_sub(1).and_then(|at| path.get(at)).copied().unwrap_or_default();
        self.last.get(usize::from(byte)).is_some_and(|seen| *seen)
    }
}

impl Filter {
    /// Of at least 16 bits per hash, one is set: at most one lookup in 16 is in vain.
    fn of(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        let mut words = vec![0; (hashes.len() / 4).next_power_of_two()];
        for hash in hashes {
            if let Some((word, bit)) =
                Self::place(words.len(), hash).and_then(|(at, bit)| Some((words.get_mut(at)?, bit)))
            {
                *word |= bit;
            }
        }
        Self(words.into())
    }

    fn may_hold(&self, hash: u64) -> bool {
        let place = Self::place(self.0.len(), hash);
        place.and_then(|(at, bit)| Some(self.0.get(at)? & bit != 0)).unwrap_or(false)
    }

    /// A word and a bit in it.
    fn place(words: usize, hash: u64) -> Option<(usize, u64)> {
        let at = usize::try_from(hash >> 6).ok()? & (words - 1);
        Some((at, 1 << (hash & 63)))
    }
}

impl Index {
    /// Hands every list of candidates to `visit`, each in priority order.
    pub(crate) fn candidates<'i>(&'i self, query: &Query<'_>, mut visit: impl FnMut(&'i [Rank])) {
        let path = query.path.as_bytes();
        if let Some(host) = query.host.map(Host::as_str) {
            if let Some(paths) = self.exact.get(host) {
                paths.candidates(path, &mut visit);
            }
            if !self.suffixes.is_empty() {
                let suffixes = host.match_indices('.').filter_map(|(dot, _)| host.get(dot..));
                suffixes.filter_map(|suffix| self.suffixes.get(suffix)).for_each(|p| p.candidates(path, &mut visit));
            }
            if !self.prefixes.is_empty() {
                let prefixes = host.match_indices('.').filter_map(|(dot, _)| host.get(..=dot));
                prefixes.filter_map(|prefix| self.prefixes.get(prefix)).for_each(|p| p.candidates(path, &mut visit));
            }
        }
        self.any.candidates(path, &mut visit);
    }
}

impl PathIndex {
    fn candidates<'i>(&'i self, path: &[u8], visit: &mut impl FnMut(&'i [Rank])) {
        let (lengths, filter, by_prefix) = match self {
            Self::Few(ranks) => return visit(ranks),
            Self::Many { lengths, filter, by_prefix } => (lengths, filter, by_prefix),
        };
        let mut hashes = PrefixHashes::new(path);
        for length in lengths.iter().take_while(|length| length.bytes <= path.len()) {
            if length.may_end(path)
                && let Some(hash) = hashes.next(length.bytes)
                && filter.may_hold(hash)
                && let Some(ranks) = by_prefix.get(&hash)
            {
                visit(ranks);
            }
        }
    }
}

/// The literal prefix of every path that a regex matches, as the router compiles it; empty if unknown.
///
/// Patterns are anchored by a leading `^`, which binds tighter than `|`: other alternatives may match
/// anywhere in a path, so such a pattern has no literal prefix.
pub(crate) fn literal_prefix(anchored: &str) -> Vec<u8> {
    let Ok(hir) = regex_syntax::parse(anchored) else { return Vec::new() };
    if !hir.properties().look_set_prefix().contains(Look::Start) {
        return Vec::new();
    }
    Extractor::new().extract(&hir).longest_common_prefix().unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_passes_every_hash_of_the_table() {
        for count in [0_u64, 1, 5, 1000] {
            let hash = |n: u64| hash_of(format!("/route-{n}/").as_bytes());
            let hashes: Vec<u64> = (0..count).map(hash).collect();
            let filter = Filter::of(hashes.iter().copied());
            assert!(hashes.iter().all(|hash| filter.may_hold(*hash)));
            let in_vain = (count..2 * count).filter(|n| filter.may_hold(hash(*n))).count();
            assert!(in_vain as u64 <= count / 10 + 1, "{in_vain} of {count}");
        }
    }

    #[test]
    fn every_match_begins_with_the_literal_prefix() {
        let rows = [
            ("/api/v1", "/api/v1"),
            ("/api/[0-9]+", "/api/"),
            ("/api/x*", "/api/"),
            ("/api/x?y", "/api/"),
            ("/api/x{0}", "/api/"),
            ("/api/x{0,}", "/api/"),
            ("/api/x{2,3}", "/api/xx"),
            ("/api/x+", "/api/x"),
            ("/admin/v+*", "/admin/"),
            ("/admin/v+?", "/admin/v"),
            ("/admin/v??", "/admin/"),
            ("/a(bc)*", "/a"),
            ("/a(?:b+)?", "/a"),
            ("/(a)(b)", "/ab"),
            (r"/api\.v1/\d", "/api.v1/"),
            (r"/api\.?x", "/api"),
            ("(?i)/1api", "/1"),
            ("/a(?i)b", "/a"),
            ("/a(?i:b)", "/a"),
            ("/a(?x) b # c", "/ab"),
            ("/a(?<n>b)", "/ab"),
            ("/a|/b", ""),
            ("/a|^/ab", "/a"),
            ("/a(b|c)", "/a"),
            ("/a(b|)", "/a"),
            ("/(a|b)*c", "/"),
            (r"/a\<b", "/ab"),
            (r"/a\Qb", ""),
            ("/a$", "/a"),
            ("/^a", "/a"),
            ("/(", ""),
            ("/[a&&b]", ""),
            ("/ä", "/ä"),
        ];
        for (pattern, expected) in rows {
            let prefix = literal_prefix(&format!("^{pattern}"));
            assert_eq!(String::from_utf8_lossy(&prefix), expected, "{pattern}");
        }
        // Two characters with a first byte in common.
        assert_eq!(literal_prefix("^/[äö]"), b"/\xc3");
    }
}
