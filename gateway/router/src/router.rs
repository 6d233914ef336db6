//! The compiled table of routes.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::sync::Arc;

use regex::Regex;
use thiserror::Error;
use uuid::Uuid;

use crate::criteria::{Criteria, MatchedPath, Matcher, PathCriterion, Query};
use crate::header::HeaderCriterion;
use crate::host::{HostPattern, NamePattern};
use crate::index::{FiledPrefix, Index, IndexBuilder, Rank, literal_prefix};
use crate::priority::{PathGroup, Priority, group_paths};
use crate::spec::RouteSpec;

/// Why routes could not be compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// A path is not a valid regex.
    #[error("route {route}: the path '~{pattern}' is not a valid regex")]
    Path {
        /// The route.
        route: Uuid,
        /// The path, without `~`.
        pattern: String,
        /// What is wrong with it.
        source: regex::Error,
    },
    /// A header's value is not a valid regex.
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
    /// There are more routes than ranks.
    #[error("too many routes: at most {} are supported", Rank::MAX)]
    TooMany,
}

/// Finds the route of a request. Immutable.
#[derive(Debug)]
pub struct Router<T> {
    /// In priority order.
    entries: Box<[Entry<T>]>,
    index: Index,
}

/// A match.
#[derive(Debug)]
pub struct Match<'r, T> {
    /// What the route leads to.
    pub value: &'r T,
    /// The part of the path that matched.
    pub path: MatchedPath,
}

/// One cache line, if `T` has at most 16 bytes: with 10,000 routes, a request mostly waits for memory.
#[derive(Debug)]
#[repr(align(64))]
struct Entry<T> {
    matcher: Matcher,
    value: T,
}

/// A route with compiled criteria. Compiling regexes is slow, so a route that has not changed is compiled
/// once and used in every router that contains it.
#[derive(Debug)]
pub struct CompiledRoute {
    /// One, or one per group of its paths; none for a route that matches no HTTP request.
    groups: Box<[CompiledGroup]>,
}

/// A matcher with its priority and the path prefixes under which it is stored.
#[derive(Debug)]
struct CompiledGroup {
    priority: Priority,
    matcher: Matcher,
    prefixes: Box<[FiledPrefix]>,
}

impl CompiledRoute {
    /// Compiles a route. One that cannot match an HTTP request (stream protocols, no criteria) compiles to a
    /// route that never matches.
    ///
    /// # Errors
    /// The first regex that does not compile.
    pub fn compile(spec: &RouteSpec) -> Result<Self, CompileError> {
        let mut faults = Vec::new();
        let compiled = Self::covering(spec, &mut faults);
        faults.into_iter().next().map_or(Ok(compiled), Err)
    }

    /// Compiles a route that matches every request that this one could match, with the same priority: each
    /// criterion with an invalid regex (added to `faults`) is left out. Its purpose is to refuse those
    /// requests, since a lower-priority route would serve them otherwise.
    pub fn covering(spec: &RouteSpec, faults: &mut Vec<CompileError>) -> Self {
        let groups = if spec.can_match() { compile_groups(spec, faults) } else { Vec::new() };
        Self { groups: groups.into() }
    }
}

impl<T: Clone> Router<T> {
    /// Compiles routes, each with what it leads to.
    ///
    /// # Errors
    /// The first regex that does not compile, with its route.
    pub fn compile(routes: impl IntoIterator<Item = (RouteSpec, T)>) -> Result<Self, CompileError> {
        let routes = routes.into_iter().map(|(spec, value)| Ok((CompiledRoute::compile(&spec)?, value)));
        Self::of_compiled(routes.collect::<Result<Vec<_>, CompileError>>()?)
    }

    /// Builds a router from compiled routes, each with what it leads to.
    ///
    /// # Errors
    /// [`CompileError::TooMany`].
    pub fn of_compiled<R>(routes: impl IntoIterator<Item = (R, T)>) -> Result<Self, CompileError>
    where
        R: Borrow<CompiledRoute>,
    {
        let routes: Vec<(R, T)> = routes.into_iter().collect();
        let mut groups: Vec<(&T, &CompiledGroup)> = routes
            .iter()
            .flat_map(|(route, value)| route.borrow().groups.iter().map(move |group| (value, group)))
            .collect();
        groups.sort_unstable_by_key(|(_, group)| Reverse(group.priority));

        let hosts = groups.iter().map(|(_, group)| group.matcher.hosts().len()).sum();
        let mut index = IndexBuilder::with_hosts(hosts);
        for (rank, (_, group)) in groups.iter().enumerate() {
            let rank = Rank::try_from(rank).map_err(|_| CompileError::TooMany)?;
            let hosts = group.matcher.hosts();
            for prefix in &group.prefixes {
                if hosts.is_empty() {
                    index.insert(None, prefix, rank);
                }
                hosts.iter().for_each(|host| index.insert(Some(&host.name), prefix, rank));
            }
        }
        let index = index.build();
        let entry =
            |(value, group): (&T, &CompiledGroup)| Entry { matcher: group.matcher.clone(), value: value.clone() };
        Ok(Self { entries: groups.into_iter().map(entry).collect(), index })
    }

    /// What the routes lead to; one whose paths are in several groups more than once.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value)
    }

    /// The route of a request: the first match in priority order.
    pub fn find(&self, query: &Query<'_>) -> Option<Match<'_, T>> {
        let mut best: Option<(Rank, &Entry<T>, MatchedPath)> = None;
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
        best.map(|(_, entry, path)| Match { value: &entry.value, path })
    }
}

/// Compiles a route's matchers: one, or one per group of its paths.
fn compile_groups(spec: &RouteSpec, faults: &mut Vec<CompileError>) -> Vec<CompiledGroup> {
    let common = criteria(spec, faults).map(Arc::new);
    let groups = group_paths(&spec.paths);
    let compiled = groups.iter().enumerate().map(|(nth, group)| {
        let (path, prefixes) = path_criterion(spec.id, group).unwrap_or_else(|fault| {
            faults.push(fault);
            anywhere()
        });
        let matcher = Matcher { common: common.clone(), path };
        CompiledGroup { priority: Priority::of(spec, group, nth + 1, groups.len()), matcher, prefixes }
    });
    compiled.collect()
}

/// The criteria other than paths, if there are any.
fn criteria(spec: &RouteSpec, faults: &mut Vec<CompileError>) -> Option<Criteria> {
    let headers = spec.headers.iter().filter_map(|(name, values)| match HeaderCriterion::new(name, values) {
        Ok(criterion) => Some(criterion),
        Err((pattern, source)) => {
            let (header, pattern) = (name.clone(), pattern.to_owned());
            faults.push(CompileError::Header { route: spec.id, header, pattern, source });
            None
        }
    });
    let criteria = Criteria {
        methods: spec.methods.iter().map(|method| method.as_str().into()).collect(),
        hosts: spec.hosts.iter().map(|host| HostPattern::new(host)).collect(),
        headers: headers.collect(),
        snis: spec.snis.iter().map(|sni| NamePattern::new(sni)).collect(),
    };
    (!criteria.is_empty()).then_some(criteria)
}

/// The path criterion of a group, with the prefixes under which it is stored.
fn path_criterion(route: Uuid, group: &PathGroup<'_>) -> Result<(PathCriterion, Box<[FiledPrefix]>), CompileError> {
    Ok(match group {
        PathGroup::Absent => anywhere(),
        PathGroup::Prefixes(prefixes) => {
            let filed = prefixes.iter().map(|prefix| FiledPrefix::new(prefix.as_bytes())).collect();
            let criterion = match prefixes.as_slice() {
                [prefix] => PathCriterion::Prefix(prefix.as_bytes().into()),
                prefixes => PathCriterion::Prefixes(prefixes.iter().map(|prefix| (*prefix).into()).collect()),
            };
            (criterion, filed)
        }
        PathGroup::Regexes(patterns) => {
            let anchored = |pattern: &str| format!("^{pattern}");
            let regexes = patterns.iter().map(|pattern| {
                Regex::new(&anchored(pattern)).map_err(|source| CompileError::Path {
                    route,
                    pattern: (*pattern).to_owned(),
                    source,
                })
            });
            let filed = patterns.iter().map(|pattern| FiledPrefix::new(&literal_prefix(&anchored(pattern)))).collect();
            (PathCriterion::Regexes(regexes.collect::<Result<_, _>>()?), filed)
        }
    })
}

/// No path criterion, stored where every path finds it.
fn anywhere() -> (PathCriterion, Box<[FiledPrefix]>) {
    (PathCriterion::Absent, [FiledPrefix::new(b"")].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!(size_of::<Entry<Arc<str>>>(), 64);
    }
}
