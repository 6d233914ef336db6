//! What a request must have to match: every criterion must hold; any one of a criterion's values is enough.

use std::sync::Arc;

use http::HeaderMap;
use regex::Regex;
use smallvec::SmallVec;
use tollgate_core::host::Host;

use crate::header::HeaderCriterion;
use crate::host::{HostPattern, NamePattern, Ports};

/// The parts of a request that routing uses.
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    /// The method.
    pub method: &'q str,
    /// Whether the request came over TLS.
    pub https: bool,
    /// The requested host.
    pub host: Option<&'q Host<'q>>,
    /// The ports it is addressed to.
    pub ports: Ports,
    /// The path, as returned by [`crate::path::normalise`].
    pub path: &'q str,
    /// The headers.
    pub headers: &'q HeaderMap,
    /// The TLS server name.
    pub sni: Option<&'q Host<'q>>,
}

/// The part of the path that matched, in bytes; `strip_path` removes this part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchedPath {
    /// The route has no paths.
    None,
    /// A plain prefix of this length.
    Prefix(usize),
    /// A regex matched a text of this length.
    Regex {
        /// The length of the text.
        len: usize,
    },
}

/// The criteria that all groups of a split route share.
#[derive(Debug)]
pub(crate) struct Criteria {
    pub(crate) methods: Box<[Box<str>]>,
    pub(crate) hosts: Box<[HostPattern]>,
    pub(crate) headers: Box<[HeaderCriterion]>,
    pub(crate) snis: Box<[NamePattern]>,
}

/// The path criterion of one group.
#[derive(Debug, Clone)]
pub(crate) enum PathCriterion {
    Absent,
    /// The only prefix; usually short enough to be stored inline.
    Prefix(SmallVec<[u8; 24]>),
    Prefixes(Arc<[Box<str>]>),
    Regexes(Arc<[Regex]>),
}

/// A route, or one group of a split route, ready for matching. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    /// `None`: the path is the only criterion.
    pub(crate) common: Option<Arc<Criteria>>,
    pub(crate) path: PathCriterion,
}

impl Matcher {
    /// The hosts that match; empty: any.
    pub(crate) fn hosts(&self) -> &[HostPattern] {
        self.common.as_ref().map_or(&[], |common| &common.hosts)
    }

    /// The part of the path that matched, if all criteria hold.
    pub(crate) fn matches(&self, query: &Query<'_>) -> Option<MatchedPath> {
        // Cheap criteria first: regexes and headers are only checked if all others hold.
        let Some(common) = &self.common else { return self.path.matches(query.path) };
        if !(common.method(query) && common.host(query) && common.sni(query)) {
            return None;
        }
        let path = self.path.matches(query.path)?;
        common.headers.iter().all(|header| header.matches(query.headers)).then_some(path)
    }
}

impl Criteria {
    /// Whether every request matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.methods.is_empty() && self.hosts.is_empty() && self.headers.is_empty() && self.snis.is_empty()
    }

    fn method(&self, query: &Query<'_>) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|method| **method == *query.method)
    }

    fn host(&self, query: &Query<'_>) -> bool {
        self.hosts.is_empty()
            || query.host.is_some_and(|host| self.hosts.iter().any(|pattern| pattern.matches(host, query.ports)))
    }

    /// Server names do not apply to a request without TLS.
    fn sni(&self, query: &Query<'_>) -> bool {
        self.snis.is_empty()
            || !query.https
            || query.sni.is_some_and(|sni| self.snis.iter().any(|pattern| pattern.matches(sni)))
    }
}

impl PathCriterion {
    fn matches(&self, path: &str) -> Option<MatchedPath> {
        match self {
            Self::Absent => Some(MatchedPath::None),
            Self::Prefix(prefix) => path.as_bytes().starts_with(prefix).then_some(MatchedPath::Prefix(prefix.len())),
            Self::Prefixes(prefixes) => {
                let prefix = prefixes.iter().find(|prefix| path.starts_with(&***prefix))?;
                Some(MatchedPath::Prefix(prefix.len()))
            }
            Self::Regexes(regexes) => {
                let found = regexes.iter().find_map(|regex| regex.find(path))?;
                Some(MatchedPath::Regex { len: found.len() })
            }
        }
    }
}
