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
    /// There are more routes than ranks.
    #[error("too many routes: at most {} are supported", Rank::MAX)]
    TooMany,
}

/// Finds the route of a request; immutable.
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
    /// What of the path matched.
    pub path: MatchedPath,
}

/// A cache line, with a `T` of 16 bytes at most: among 10,000 routes, what a request waits for is memory.
#[derive(Debug)]
#[repr(align(64))]
struct Entry<T> {
    matcher: Matcher,
    value: T,
}

/// A route with its criteria compiled. Regexes are what makes compiling slow, so a route that has
/// not changed is compiled once and handed to every router that it is part of.
#[derive(Debug)]
pub struct CompiledRoute {
    /// One, or one for each group of its paths; none for a route that matches no HTTP request.
    groups: Box<[CompiledGroup]>,
}

/// A matcher with its place and the path prefixes to file it under.
#[derive(Debug)]
struct CompiledGroup {
    priority: Priority,
    matcher: Matcher,
    prefixes: Box<[FiledPrefix]>,
}

impl CompiledRoute {
    /// Compiles a route. One that cannot match an HTTP request (stream protocols, no criteria)
    /// compiles to a route that is passed over.
    ///
    /// # Errors
    /// The first regex that does not compile.
    pub fn compile(spec: &RouteSpec) -> Result<Self, CompileError> {
        let mut faults = Vec::new();
        let compiled = Self::covering(spec, &mut faults);
        faults.into_iter().next().map_or(Ok(compiled), Err)
    }

    /// A route that matches every request that this one could, in its place in the order: each
    /// criterion with a regex that does not compile (added to `faults`) is left out. It is there to
    /// refuse those requests, since without it a lesser route would serve them.
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

    /// The router of compiled routes, each with what it leads to.
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

    /// The route of a request: of those that match, the first in priority order.
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

/// Makes a route's matchers: one, or one for each group of its paths.
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

/// The criteria beside paths, if there are any.
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

/// The path criterion of a group, with the prefixes to file it under.
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

/// No path criterion, filed where every path finds it.
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
