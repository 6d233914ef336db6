//! From a request's host and path to the few matchers worth trying.
//!
//! A matcher is filed under each of its hosts and, there, under each of its path prefixes; a regex
//! under the literal text it starts with. A request looks under its own host, the wildcards that
//! could cover it and "any host", and there under the prefixes of its path. What is found is a
//! superset of what matches: every candidate is still checked whole, so hashes may collide.

use crate::criteria::Query;
use crate::fast_hash::{FastMap, RollingHash};
use crate::host::NamePattern;

/// A matcher's position in priority order; smaller is tried first.
pub(crate) type Rank = u32;

/// A host with at most this many matchers is not worth hashing paths for.
const FEW: usize = 4;

/// Collects matchers, then becomes an [`Index`].
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    exact: FastMap<Box<str>, PathsBuilder>,
    suffixes: FastMap<Box<str>, PathsBuilder>,
    prefixes: FastMap<Box<str>, PathsBuilder>,
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

/// The matchers under one host, with the prefix each is filed under.
#[derive(Debug, Default)]
struct PathsBuilder(Vec<(Box<str>, Rank)>);

#[derive(Debug)]
enum PathIndex {
    /// All of them, in order.
    Few(Box<[Rank]>),
    /// By the hash of the prefix, for each of the lengths that occur, ascending.
    Many { lengths: Box<[usize]>, by_prefix: FastMap<u64, Box<[Rank]>> },
}

impl IndexBuilder {
    /// Files a matcher under a host (`None`: any) and a path prefix.
    pub(crate) fn insert(&mut self, host: Option<&NamePattern>, path_prefix: &str, rank: Rank) {
        let paths = match host {
            Some(NamePattern::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            // Only labels are looked up; a wildcard that cuts one is tried for every host.
            Some(NamePattern::Suffix(name)) if name.starts_with('.') => self.suffixes.entry(name.clone()).or_default(),
            Some(NamePattern::Prefix(name)) if name.ends_with('.') => self.prefixes.entry(name.clone()).or_default(),
            Some(NamePattern::Suffix(_) | NamePattern::Prefix(_)) | None => &mut self.any,
        };
        paths.0.push((path_prefix.into(), rank));
    }

    /// Ends the collecting.
    pub(crate) fn build(self) -> Index {
        let finish = |map: FastMap<Box<str>, PathsBuilder>| {
            map.into_iter().map(|(host, paths)| (host, paths.build())).collect::<FastMap<_, _>>()
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
        let mut ranks: Vec<Rank> = self.0.iter().map(|(_, rank)| *rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        if ranks.len() <= FEW {
            return PathIndex::Few(ranks.into());
        }
        let mut lengths: Vec<usize> = self.0.iter().map(|(prefix, _)| prefix.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut by_prefix: FastMap<u64, Vec<Rank>> = FastMap::default();
        for (prefix, rank) in self.0 {
            by_prefix.entry(RollingHash::EMPTY.extend(prefix.as_bytes()).value()).or_default().push(rank);
        }
        let by_prefix = by_prefix.into_iter().map(|(hash, mut ranks)| {
            ranks.sort_unstable();
            ranks.dedup();
            (hash, ranks.into())
        });
        PathIndex::Many { lengths: lengths.into(), by_prefix: by_prefix.collect() }
    }
}

impl Index {
    /// Hands every list of candidates to `visit`, each in priority order.
    pub(crate) fn candidates<'i>(&'i self, query: &Query<'_>, mut visit: impl FnMut(&'i [Rank])) {
        let path = query.path.as_bytes();
        if let Some(host) = query.host {
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
        let (lengths, by_prefix) = match self {
            Self::Few(ranks) => return visit(ranks),
            Self::Many { lengths, by_prefix } => (lengths, by_prefix),
        };
        let mut hash = RollingHash::EMPTY;
        let mut done = 0;
        for length in lengths {
            let Some(piece) = path.get(done..*length) else { break };
            hash = hash.extend(piece);
            done = *length;
            if let Some(ranks) = by_prefix.get(&hash.value()) {
                visit(ranks);
            }
        }
    }
}

/// The text every match of a regex (without its anchor) starts with; shorter than it could be when in doubt.
pub(crate) fn literal_prefix(pattern: &str) -> String {
    // Alternatives outside a group need not start alike, nor even at the start of the path.
    if pattern.contains('|') {
        return String::new();
    }
    let mut literal = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        let char = match char {
            '\\' => match chars.next() {
                Some(escaped) if escaped.is_ascii_punctuation() && !matches!(escaped, '<' | '>') => escaped,
                _ => return literal,
            },
            '.' | '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' => return literal,
            char => char,
        };
        // What may occur no times is not part of it; `+` repeats it, which the next round stops at.
        if matches!(chars.peek(), Some('*' | '?' | '{')) {
            return literal;
        }
        literal.push(char);
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_prefix_is_never_too_long() {
        let rows = [
            ("/api/v1", "/api/v1"),
            ("/api/[0-9]+", "/api/"),
            ("/api/x*", "/api/"),
            ("/api/x?y", "/api/"),
            ("/api/x{0}", "/api/"),
            ("/api/x+", "/api/x"),
            (r"/api\.v1/\d", "/api.v1/"),
            (r"/api\.?x", "/api"),
            ("(?i)/api", ""),
            ("/a(?<n>b)", "/a"),
            ("/a|/b", ""),
            ("/a(b|c)", ""),
            (r"/a\<b", "/a"),
            ("/a$", "/a"),
        ];
        for (pattern, expected) in rows {
            assert_eq!(literal_prefix(pattern), expected, "{pattern}");
        }
    }
}
