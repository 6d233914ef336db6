//! Plugins: configured instances, bound to routes, services and consumers (gateway.md §5, §9).

use serde_json::{Value, json};

use crate::entity::{Kind, field};
use crate::schema::{Document, Field, OnDelete, Rule, Schema, Violations};

const NAME: &str = "plugins";
const PROTOCOLS: [&str; 4] = ["grpc", "grpcs", "http", "https"];

/// The kind `plugins`. Writes go through
/// [`Definition::instance_schema`](crate::plugin::Definition::instance_schema), which knows the fields of
/// `config`.
pub fn kind() -> Kind {
    Kind::new(NAME, schema(Schema::default(), true))
        .second_key("instance_name")
        .unique_together(&["name", "route", "service", "consumer"])
}

/// The error for an unknown plugin name; `available` lists the names that exist.
pub fn not_enabled<'n>(name: &str, available: impl IntoIterator<Item = &'n str>) -> Violations {
    let available = available.into_iter().collect::<Vec<_>>().join(", ");
    Violations::of_field("name", format!("plugin '{name}' not enabled; the plugins that exist here are: {available}"))
}

/// Whether an instance can see requests: it must share a protocol with its route, or with at least one route
/// of its service. `service_routes` is only read if there is no route; a service without routes is accepted.
pub fn check_protocols<'r>(
    plugin: &Document,
    route: Option<&Document>,
    service_routes: impl IntoIterator<Item = &'r Document>,
) -> Result<(), Violations> {
    let refused = |text: &str| Err(Violations::of_field("protocols", text));
    if let Some(route) = route {
        let fits = has_common_protocol(plugin, route);
        return if fits { Ok(()) } else { refused("must match the associated route's protocols") };
    }
    let mut routes = service_routes.into_iter().peekable();
    let fits = routes.peek().is_none() || routes.any(|route| has_common_protocol(plugin, route));
    let text = "must match the protocols of at least one route pointing to this Plugin's service";
    if fits { Ok(()) } else { refused(text) }
}

/// The schema of instances whose `config` has this schema.
pub(crate) fn schema(config: Schema, consumer_scoped: bool) -> Schema {
    let bound = |name, target| Field::foreign(name, target, OnDelete::Cascade).default(Value::Null);
    let no_consumer = Field::foreign("consumer", "consumers", OnDelete::Restrict).rule(Rule::Null);
    let fields = vec![
        field::id(),
        Field::string("name").required(),
        field::name("instance_name"),
        field::created_at(),
        field::updated_at(),
        bound("route", "routes"),
        bound("service", "services"),
        if consumer_scoped { bound("consumer", "consumers") } else { no_consumer },
        Field::record("config", config).required(),
        Field::set("protocols", Field::string("").one_of(&PROTOCOLS)).default(json!(PROTOCOLS)).required(),
        Field::boolean("enabled", true),
        field::tags(),
    ];
    Schema::new(fields).describe(&DESCRIPTIONS)
}

/// Descriptions in `/schemas` of the fields that all plugins have.
const DESCRIPTIONS: [(&str, &str); 8] = [
    ("name", "The plugin's name."),
    ("instance_name", "A unique name of this instance; it can replace the id in paths."),
    ("route", "The route whose requests the plugin sees; null does not restrict it to one."),
    ("service", "The service whose requests the plugin sees; null does not restrict it to one."),
    ("consumer", "The consumer whose requests the plugin sees; null does not restrict it to one."),
    ("config", "The plugin's own settings."),
    ("protocols", "The protocols of the requests that the plugin sees."),
    ("enabled", "Whether the plugin runs."),
];

fn has_common_protocol(plugin: &Document, route: &Document) -> bool {
    let of_route: Vec<&str> = route.texts("protocols").collect();
    plugin.texts("protocols").any(|protocol| of_route.contains(&protocol))
}

#[cfg(test)]
#[path = "plugin_tests.rs"]
mod tests;
