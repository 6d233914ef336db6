//! The order in which routes are tried (gateway.md §6).

use uuid::Uuid;

use crate::spec::RouteSpec;

/// The namespace of the ids of routes into which [`split`](crate::router) divides a route with several kinds
/// of paths.
const SPLIT_NAMESPACE: Uuid = Uuid::from_u128(0x7f145bf9_0dce_4f91_98eb_debbce4b9f6b);

/// Header names beyond this number do not raise the priority.
const MOST_HEADERS: usize = 255;

/// A matcher's priority: fields are compared in this order; the greatest is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Priority {
    kinds: u32,
    plain_hosts: bool,
    headers: usize,
    regex: bool,
    regex_priority: i64,
    length: usize,
    id: Uuid,
}

/// The paths that one matcher checks: a route's paths are grouped so that all paths of a group have the same
/// priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathGroup<'s> {
    /// The route has no paths.
    Absent,
    /// Prefixes of one length.
    Prefixes(Vec<&'s str>),
    /// All regexes of the route, without their `~`.
    Regexes(Vec<&'s str>),
}

/// Groups a route's paths, in order of first appearance.
pub(crate) fn group_paths(paths: &[String]) -> Vec<PathGroup<'_>> {
    if paths.is_empty() {
        return vec![PathGroup::Absent];
    }
    let mut groups: Vec<PathGroup<'_>> = Vec::new();
    for path in paths {
        let regex = path.strip_prefix('~');
        let home = groups.iter_mut().find_map(|group| match group {
            PathGroup::Regexes(members) if regex.is_some() => Some(members),
            PathGroup::Prefixes(members) if regex.is_none() && members.iter().all(|m| m.len() == path.len()) => {
                Some(members)
            }
            _ => None,
        });
        match (home, regex) {
            (Some(members), _) => members.push(regex.unwrap_or(path)),
            (None, Some(regex)) => groups.push(PathGroup::Regexes(vec![regex])),
            (None, None) => groups.push(PathGroup::Prefixes(vec![path])),
        }
    }
    groups
}

impl Priority {
    /// The priority of a route's `nth` group (from 1) of `groups`.
    pub(crate) fn of(spec: &RouteSpec, group: &PathGroup<'_>, nth: usize, groups: usize) -> Self {
        let present = [
            !spec.methods.is_empty(),
            !spec.hosts.is_empty(),
            !spec.headers.is_empty(),
            !spec.snis.is_empty(),
            !spec.paths.is_empty(),
        ];
        let regex = matches!(group, PathGroup::Regexes(_));
        Self {
            kinds: present.into_iter().map(u32::from).sum(),
            plain_hosts: !spec.hosts.is_empty() && !spec.hosts.iter().any(|host| host.contains('*')),
            headers: spec.headers.len().min(MOST_HEADERS),
            regex,
            regex_priority: if regex { spec.regex_priority } else { 0 },
            length: match group {
                PathGroup::Prefixes(prefixes) => prefixes.first().map_or(0, |prefix| prefix.len()),
                PathGroup::Absent | PathGroup::Regexes(_) => 0,
            },
            id: if groups > 1 { split_id(spec.id, nth) } else { spec.id },
        }
    }
}

fn split_id(route: Uuid, nth: usize) -> Uuid {
    Uuid::new_v5(&SPLIT_NAMESPACE, format!("{route}#{nth}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_grouped_by_length_and_regexes_together() {
        let paths: Vec<String> = ["~/a", "/long", "/one", "/two", "~/b"].map(String::from).to_vec();
        let expected = vec![
            PathGroup::Regexes(vec!["/a", "/b"]),
            PathGroup::Prefixes(vec!["/long"]),
            PathGroup::Prefixes(vec!["/one", "/two"]),
        ];
        assert_eq!(group_paths(&paths), expected);
        assert_eq!(group_paths(&[]), vec![PathGroup::Absent]);
    }

    #[test]
    fn only_a_route_with_several_groups_gets_derived_ids() {
        let spec = RouteSpec { id: Uuid::from_u128(7), paths: vec!["/a".into()], ..RouteSpec::default() };
        let group = PathGroup::Prefixes(vec!["/a"]);
        assert_eq!(Priority::of(&spec, &group, 1, 1).id, spec.id);
        let split = Priority::of(&spec, &group, 1, 2).id;
        assert_eq!(split.get_version_num(), 5);
        assert_ne!(split, Priority::of(&spec, &group, 2, 2).id);
    }
}
