//! Resources and their paths. Paths of entities are derived from the registered kinds:
//!
//! - `/services`, `/services/{x}`: every served kind;
//! - `/services/{x}/routes[/{y}]`: kinds that refer to another kind, below that kind;
//! - `/routes/{x}/service`: a foreign field, below the kind that has it;
//! - `/upstreams/{x}/health` and the like: what this node knows about an upstream's targets;
//! - `/ui` and what is below it: the console, if it is on.
//!
//! Fixed paths such as `/plugins/enabled` take precedence over entities with that name.

use std::sync::Arc;

use http::Method;
use tollgate_core::collection::Collection;
use uuid::Uuid;

use crate::console;
use crate::health::HealthReport;
use crate::state::AdminState;

/// A kind's entities in the store.
pub(crate) type Entities = Arc<dyn Collection>;

/// A kind below another.
pub(crate) struct Nested<'r> {
    pub(crate) parents: &'r Entities,
    pub(crate) children: &'r Entities,
    /// The children's field that refers to the parent.
    pub(crate) field: &'static str,
}

/// A foreign field of a kind.
pub(crate) struct ForeignField<'r> {
    pub(crate) owners: &'r Entities,
    pub(crate) field: &'static str,
    pub(crate) targets: &'r Entities,
}

/// The health of a target, or of one of its addresses, as an operator says that it is.
pub(crate) struct NewTargetHealth<'r> {
    pub(crate) nested: Nested<'r>,
    pub(crate) upstream: &'r str,
    pub(crate) target: &'r str,
    pub(crate) address: Option<&'r str>,
    pub(crate) health: HealthReport,
}

/// A resource named by a path. Strings are the decoded segments for `{…}`.
pub(crate) enum Resource<'r> {
    Collection(&'r Entities),
    Entity(&'r Entities, &'r str),
    Children(Nested<'r>, &'r str),
    Child(Nested<'r>, &'r str, &'r str),
    Foreign(ForeignField<'r>, &'r str),
    /// Children as they are stored, in ascending order of id.
    StoredChildren(Nested<'r>, &'r str),
    UpstreamHealth(Nested<'r>, &'r str),
    NewTargetHealth(NewTargetHealth<'r>),
    Information,
    Status,
    Metrics,
    Timers,
    Endpoints,
    EnabledPlugins,
    Schema(&'r str),
    SchemaValidation(&'r str),
    PluginSchema(&'r str),
    PluginValidation,
    Tags,
    Tag(&'r str),
    Cache,
    CacheKey(&'r str),
    Configuration,
    Explanation,
    OpenApi,
    LogLevel,
    NewLogLevel(&'r str),
    ConsoleFile(&'static console::File),
    ConsoleCaller,
}

impl<'r> Resource<'r> {
    /// The resource for the segments; `None` is 404.
    pub(crate) fn of(state: &'r AdminState, segments: &'r [String]) -> Option<Self> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let found = Self::fixed(&segments).or_else(|| Self::of_console(state, &segments));
        let found = found.or_else(|| Self::of_upstream(state, &segments));
        found.or_else(|| Self::of_entities(state, &segments))
    }

    fn fixed(segments: &[&'r str]) -> Option<Self> {
        Some(match segments {
            [] => Self::Information,
            ["status"] => Self::Status,
            ["metrics"] => Self::Metrics,
            ["timers"] => Self::Timers,
            ["endpoints"] => Self::Endpoints,
            ["openapi.json"] => Self::OpenApi,
            ["plugins", "enabled"] => Self::EnabledPlugins,
            ["schemas", "plugins", "validate"] => Self::PluginValidation,
            ["schemas", "plugins", name] | ["plugins", "schema", name] => Self::PluginSchema(name),
            ["schemas", name] => Self::Schema(name),
            ["schemas", name, "validate"] => Self::SchemaValidation(name),
            ["tags"] => Self::Tags,
            ["tags", tag] => Self::Tag(tag),
            ["cache"] => Self::Cache,
            ["cache", key] => Self::CacheKey(key),
            ["config"] => Self::Configuration,
            ["oauth2_tokens", "explain"] => Self::Explanation,
            ["debug", "node", "log-level"] => Self::LogLevel,
            ["debug", "node", "log-level", level] => Self::NewLogLevel(level),
            _ => return None,
        })
    }

    fn of_console(state: &'r AdminState, segments: &[&'r str]) -> Option<Self> {
        match segments {
            _ if !state.console => None,
            ["ui", "caller"] => Some(Self::ConsoleCaller),
            ["ui"] => console::File::named("").map(Self::ConsoleFile),
            ["ui", name] => console::File::named(name).map(Self::ConsoleFile),
            _ => None,
        }
    }

    fn of_upstream(state: &'r AdminState, segments: &[&'r str]) -> Option<Self> {
        let ["upstreams", upstream, rest @ ..] = segments else { return None };
        let targets = || {
            let upstreams = state.served().find(|collection| collection.kind().name == "upstreams")?;
            nested(state, upstreams, "targets")
        };
        let (target, address, health) = match rest {
            ["health"] => return Some(Self::UpstreamHealth(targets()?, upstream)),
            ["targets", "all"] => return Some(Self::StoredChildren(targets()?, upstream)),
            ["targets", target, health] => (target, None, health),
            ["targets", target, address, health] => (target, Some(*address), health),
            _ => return None,
        };
        let health = match *health {
            "healthy" => HealthReport::Healthy,
            "unhealthy" => HealthReport::Unhealthy,
            _ => return None,
        };
        Some(Self::NewTargetHealth(NewTargetHealth { nested: targets()?, upstream, target, address, health }))
    }

    fn of_entities(state: &'r AdminState, segments: &[&'r str]) -> Option<Self> {
        let (name, rest) = segments.split_first()?;
        let mut served = state.served().filter(|collection| !collection.kind().only_below_parent);
        let first = served.find(|collection| collection.kind().segment == *name)?;
        match *rest {
            [] => Some(Self::Collection(first)),
            [key] => Some(Self::Entity(first, key)),
            [key, name] => match foreign_field(state, first, name) {
                Some(foreign) => Some(Self::Foreign(foreign, key)),
                None => Some(Self::Children(nested(state, first, name)?, key)),
            },
            [parent, name, key] => Some(Self::Child(nested(state, first, name)?, parent, key)),
            _ => None,
        }
    }

    /// The methods of the resource, sorted, without `HEAD` and `OPTIONS`.
    pub(crate) fn own_methods(&self) -> &'static [Method] {
        match self {
            Self::Collection(_) | Self::Children(..) | Self::Tags | Self::Configuration => &[Method::GET, Method::POST],
            Self::Entity(..) | Self::Child(..) | Self::Foreign(..) | Self::Tag(_) => {
                &[Method::DELETE, Method::GET, Method::PATCH, Method::PUT]
            }
            Self::SchemaValidation(_) | Self::PluginValidation | Self::Explanation => &[Method::POST],
            Self::Cache => &[Method::DELETE],
            Self::CacheKey(_) => &[Method::DELETE, Method::GET],
            Self::NewLogLevel(_) | Self::NewTargetHealth(_) => &[Method::PUT],
            Self::Information
            | Self::Status
            | Self::Metrics
            | Self::Timers
            | Self::Endpoints
            | Self::OpenApi
            | Self::EnabledPlugins
            | Self::Schema(_)
            | Self::PluginSchema(_)
            | Self::StoredChildren(..)
            | Self::UpstreamHealth(..)
            | Self::LogLevel
            | Self::ConsoleFile(_)
            | Self::ConsoleCaller => &[Method::GET],
        }
    }

    /// Whether the method is served; `HEAD` wherever `GET` is.
    pub(crate) fn allows(&self, method: &Method) -> bool {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.own_methods().contains(method)
    }

    /// Whether a method of the resource changes something. Validation and explanations do not, although they are POSTs.
    pub(crate) fn is_write(&self, method: &Method) -> bool {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        !reads && !matches!(self, Self::SchemaValidation(_) | Self::PluginValidation | Self::Explanation)
    }

    /// Its name in the audit log: the kind of entity that a write changes.
    pub(crate) fn audited(&self) -> &'static str {
        match self {
            Self::Collection(entities) | Self::Entity(entities, _) => entities.kind().name,
            Self::Children(nested, _) | Self::Child(nested, ..) | Self::StoredChildren(nested, _) => {
                nested.children.kind().name
            }
            Self::UpstreamHealth(..) | Self::NewTargetHealth(_) => "target_health",
            Self::Foreign(foreign, _) => foreign.targets.kind().name,
            Self::Cache | Self::CacheKey(_) => "cache",
            Self::LogLevel | Self::NewLogLevel(_) => "log_level",
            Self::Tags | Self::Tag(_) => "tags",
            Self::Configuration => "config",
            Self::Explanation => "oauth2_tokens",
            Self::Schema(_) | Self::SchemaValidation(_) | Self::PluginSchema(_) | Self::PluginValidation => "schemas",
            Self::Information
            | Self::Status
            | Self::Metrics
            | Self::Timers
            | Self::Endpoints
            | Self::OpenApi
            | Self::EnabledPlugins
            | Self::ConsoleFile(_)
            | Self::ConsoleCaller => "node",
        }
    }

    /// The entity's id, if the path names it by id.
    pub(crate) fn id(&self) -> Option<Uuid> {
        match self {
            Self::Entity(_, key) | Self::Child(_, _, key) if key.len() == 36 => Uuid::parse_str(key).ok(),
            _ => None,
        }
    }

    /// The value of `Allow`, sorted.
    pub(crate) fn allow(&self) -> String {
        self.allow_names(None)
    }

    /// The same without a refused method; whether it is refused may depend on stored entities.
    pub(crate) fn allow_without(&self, method: &Method) -> String {
        self.allow_names(Some(method.as_str()))
    }

    fn allow_names(&self, refused: Option<&str>) -> String {
        let mut names: Vec<&str> = self.own_methods().iter().map(Method::as_str).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.push("OPTIONS");
        names.retain(|name| Some(*name) != refused);
        names.sort_unstable();
        names.join(", ")
    }
}

/// The kind named by `segment` below `parents`.
fn nested<'r>(state: &'r AdminState, parents: &'r Entities, segment: &str) -> Option<Nested<'r>> {
    let children = state.served().filter(|children| children.kind().nested_segment == segment);
    let mut related = children.filter_map(|children| {
        let mut fields = children.kind().foreign_fields();
        let (field, _) = fields.find(|(_, target)| *target == parents.kind().name)?;
        Some(Nested { parents, children, field: field.name })
    });
    related.next()
}

/// The foreign field named by `segment` below `owners`.
fn foreign_field<'r>(state: &'r AdminState, owners: &'r Entities, segment: &str) -> Option<ForeignField<'r>> {
    let (field, target) = owners.kind().foreign_paths().find(|(field, _)| field.name == segment)?;
    let targets = state.registry.collection(target).filter(|targets| targets.kind().admin)?;
    Some(ForeignField { owners, field: field.name, targets })
}
