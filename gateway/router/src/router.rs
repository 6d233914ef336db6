//! The compiled table of routes.

use std::cmp::Reverse;
use std::sync::Arc;

use regex::Regex;
use thiserror::Error;
use uuid::Uuid;

use crate::criteria::{Criteria, MatchedPath, Matcher, PathCriterion, Query, without_final_dot};
use crate::header::HeaderCriterion;
use crate::host::{HostPattern, NamePattern};
use crate::index::{Index, IndexBuilder, Rank, literal_prefix};
use crate::priority::{PathGroup, Priority, group_paths};
use crate::spec::RouteSpec;

/// Why routes could not be compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// A path is not a regex.
    #[error("route {route}: the path '~{pattern}' is not a valid regex")]
    Path {
        /// The route.
        route: Uuid,
        /// The path, without `~`.
        pattern: String,
        /// What is wrong with it.
        source: regex::Error,
    },
    /// A header's value is not a regex.
    #[error("route {route}: the value '~*{pattern}' of the header '{header}' is not a valid regex")]
    Header {
        /// The route.
        route: Uuid,
        /// The header.
        header: String,
        /// The value, without `~*`.
        pattern: String,
        /// What is wrong with it.
        source: regex::Error,
    },
    /// There are more routes than can be told apart.
    #[error("more than {} routes", Rank::MAX)]
    TooMany,
}

/// Finds the route of a request; immutable.
#[derive(Debug)]
pub struct Router<T> {
    /// In priority order.
    entries: Box<[Entry]>,
    values: Box<[(Uuid, T)]>,
    index: Index,
}

/// A match.
#[derive(Debug)]
pub struct Match<'r, T> {
    /// What the route leads to.
    pub value: &'r T,
    /// The route.
    pub route: Uuid,
    /// What of the path matched.
    pub path: MatchedPath,
}

#[derive(Debug)]
struct Entry {
    matcher: Matcher,
    /// The route's position in `values`; the groups of a split route share it.
    value: usize,
}

/// A matcher on its way into the table, with the path prefixes to file it under.
struct Draft {
    priority: Priority,
    entry: Entry,
    prefixes: Vec<String>,
}

impl<T> Router<T> {
    /// Compiles routes, each with what it leads to. Routes that cannot match an HTTP request
    /// (stream protocols, no criteria) are passed over.
    ///
    /// # Errors
    /// The first regex that does not compile, with its route.
    pub fn compile(routes: impl IntoIterator<Item = (RouteSpec, T)>) -> Result<Self, CompileError> {
        let mut values = Vec::new();
        let mut drafts = Vec::new();
        for (spec, value) in routes {
            if spec.can_match() {
                draft(&spec, values.len(), &mut drafts)?;
            }
            values.push((spec.id, value));
        }
        drafts.sort_by_key(|draft: &Draft| Reverse(draft.priority));

        let mut index = IndexBuilder::default();
        for (rank, draft) in drafts.iter().enumerate() {
            let rank = Rank::try_from(rank).map_err(|_| CompileError::TooMany)?;
            let hosts = &draft.entry.matcher.common.hosts;
            for prefix in &draft.prefixes {
                if hosts.is_empty() {
                    index.insert(None, prefix, rank);
                }
                hosts.iter().for_each(|host| index.insert(Some(&host.name), prefix, rank));
            }
        }
        let entries = drafts.into_iter().map(|draft| draft.entry).collect();
        Ok(Self { entries, values: values.into(), index: index.build() })
    }

    /// The route of a request: of those that match, the first in priority order.
    pub fn find(&self, query: &Query<'_>) -> Option<Match<'_, T>> {
        let mut best: Option<(Rank, &Entry, MatchedPath)> = None;
        self.index.candidates(query, |ranks| {
            for rank in ranks {
                if best.as_ref().is_some_and(|(so_far, ..)| so_far <= rank) {
                    return;
                }
                let entry = usize::try_from(*rank).ok().and_then(|rank| self.entries.get(rank));
                if let Some((entry, path)) = entry.and_then(|entry| Some((entry, entry.matcher.matches(query)?))) {
                    best = Some((*rank, entry, path));
                    return;
                }
            }
        });
        let (_, entry, path) = best?;
        let (route, value) = self.values.get(entry.value)?;
        Some(Match { value, route: *route, path })
    }

    /// What the routes lead to, in the order they were given.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter().map(|(_, value)| value)
    }
}

/// Makes a route's matchers: one, or one for each group of its paths.
fn draft(spec: &RouteSpec, value: usize, drafts: &mut Vec<Draft>) -> Result<(), CompileError> {
    let common = Arc::new(criteria(spec)?);
    let groups = group_paths(&spec.paths);
    for (nth, group) in groups.iter().enumerate() {
        let matcher = Matcher { common: Arc::clone(&common), path: path_criterion(spec.id, group)? };
        drafts.push(Draft {
            priority: Priority::of(spec, group, nth + 1, groups.len()),
            entry: Entry { matcher, value },
            prefixes: match group {
                PathGroup::Absent => vec![String::new()],
                PathGroup::Prefixes(prefixes) => prefixes.iter().map(ToString::to_string).collect(),
                PathGroup::Regexes(patterns) => patterns.iter().map(|pattern| literal_prefix(pattern)).collect(),
            },
        });
    }
    Ok(())
}

fn criteria(spec: &RouteSpec) -> Result<Criteria, CompileError> {
    let headers = spec.headers.iter().map(|(name, values)| {
        HeaderCriterion::new(name, values).map_err(|(pattern, source)| CompileError::Header {
            route: spec.id,
            header: name.clone(),
            pattern: pattern.to_owned(),
            source,
        })
    });
    Ok(Criteria {
        methods: spec.methods.iter().map(|method| method.as_str().into()).collect(),
        hosts: spec.hosts.iter().map(|host| HostPattern::new(host)).collect(),
        headers: headers.collect::<Result<_, _>>()?,
        snis: spec.snis.iter().map(|sni| NamePattern::new(without_final_dot(sni))).collect(),
    })
}

fn path_criterion(route: Uuid, group: &PathGroup<'_>) -> Result<PathCriterion, CompileError> {
    Ok(match group {
        PathGroup::Absent => PathCriterion::Absent,
        PathGroup::Prefixes(prefixes) => {
            PathCriterion::Prefixes(prefixes.iter().map(|prefix| (*prefix).into()).collect())
        }
        PathGroup::Regexes(patterns) => {
            let regexes = patterns.iter().map(|pattern| {
                Regex::new(&format!("^{pattern}")).map_err(|source| CompileError::Path {
                    route,
                    pattern: (*pattern).to_owned(),
                    source,
                })
            });
            PathCriterion::Regexes(regexes.collect::<Result<_, _>>()?)
        }
    })
}
