//! The fields of a line, and which of them are written (`access_log_fields`).

use std::str::FromStr;

/// A field, its names, and what precedes its value: one text each, so that a line is written in few parts.
macro_rules! fields {
    ($($(#[$about:meta])+ $field:ident = $name:literal,)+) => {
        /// A field of a line.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $($(#[$about])+ $field,)+
        }

        impl Field {
            /// All of them, in the order in which they are written.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$field),+];

            /// Its name in lines and in the setting.
            pub fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)+ }
            }

            /// What precedes its value in JSON.
            pub(super) fn json_key(self) -> &'static str {
                match self { $(Self::$field => concat!(",\"", $name, "\":"),)+ }
            }

            /// What precedes its value in text.
            pub(super) fn text_key(self) -> &'static str {
                match self { $(Self::$field => concat!(" ", $name, "="),)+ }
            }
        }
    };
}

fields! {
    /// When it ended, RFC 3339 in UTC.
    Time = "time",
    /// Its id, as in `X-Kong-Request-Id`.
    RequestId = "request_id",
    /// The W3C trace that it belongs to.
    TraceId = "trace_id",
    /// The client's address, after real-ip processing.
    Client = "client",
    /// The version of TLS.
    Tls = "tls",
    /// The method.
    Method = "method",
    /// The path as received, without query.
    Path = "path",
    /// The status sent; 0 if the client disconnected before one could be sent.
    Status = "status",
    /// Why the gateway responded instead of the upstream; a stable code.
    Reason = "reason",
    /// The matched route's id.
    Route = "route",
    /// Its name, as in metrics.
    RouteName = "route_name",
    /// Its service's id.
    Service = "service",
    /// The service's name, as in metrics.
    ServiceName = "service_name",
    /// The consumer's id.
    Consumer = "consumer",
    /// Its username.
    ConsumerName = "consumer_name",
    /// The id of the credential.
    Credential = "credential",
    /// The credential's public name.
    ClientId = "client_id",
    /// The last characters of the token.
    TokenHint = "token_hint",
    /// The address of the upstream.
    Upstream = "upstream",
    /// Attempts after the first.
    Retries = "retries",
    /// Body bytes from the client.
    BytesIn = "bytes_in",
    /// Body bytes to the client.
    BytesOut = "bytes_out",
    /// From the request's head to the end of the response.
    TotalMs = "total_ms",
    /// Until the request was sent upstream.
    ProxyMs = "proxy_ms",
    /// From then until the upstream's response head.
    UpstreamMs = "upstream_ms",
    /// For how many seconds no changes were heard.
    ServedStale = "served_stale",
}

impl Field {
    /// Whether plugins tell it ([`Notes`](tollgate_core::notes::Notes)).
    fn is_noted(self) -> bool {
        matches!(self, Self::Consumer | Self::ConsumerName | Self::Credential | Self::ClientId | Self::TokenHint)
    }
}

/// The fields of a text line that have no names: it begins with them.
const HEAD: [Field; 4] = [Field::Time, Field::Status, Field::Method, Field::Path];

/// The fields that are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    all: Vec<Field>,
    /// Those of [`HEAD`], and then the others.
    head: Vec<Field>,
    rest: Vec<Field>,
}

impl Default for Fields {
    fn default() -> Self {
        Self::of(|_| true)
    }
}

impl Fields {
    fn of(is_chosen: impl Fn(Field) -> bool) -> Self {
        let all: Vec<Field> = Field::ALL.into_iter().filter(|field| is_chosen(*field)).collect();
        let head = HEAD.into_iter().filter(|field| all.contains(field)).collect();
        let rest = all.iter().copied().filter(|field| !HEAD.contains(field)).collect();
        Self { all, head, rest }
    }

    /// In order.
    pub(super) fn all(&self) -> &[Field] {
        &self.all
    }

    /// In the order of a text line: those without a name, and the others.
    pub(super) fn of_text(&self) -> (&[Field], &[Field]) {
        (&self.head, &self.rest)
    }

    /// Whether any of them is told by plugins.
    pub(super) fn are_noted(&self) -> bool {
        self.all.iter().any(|field| field.is_noted())
    }
}

/// `all`; names; or `all` without names, each with a dash in front: `-client, -consumer_name`.
impl FromStr for Fields {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        let left_out =
            words.iter().filter_map(|word| word.strip_prefix('-')).map(named).collect::<Result<Vec<_>, _>>()?;
        let chosen = words.iter().filter(|word| !word.starts_with('-') && **word != "all");
        let chosen = chosen.map(|word| named(word)).collect::<Result<Vec<_>, _>>()?;
        match (chosen.is_empty(), left_out.is_empty()) {
            (false, false) => Err("expected either the fields to write, or fields to leave out (-NAME)".to_owned()),
            (false, true) if words.contains(&"all") => Err("expected either all, or the fields to write".to_owned()),
            (true, true) if words.is_empty() => Err("expected all, or fields such as time, status, path".to_owned()),
            (true, _) => Ok(Self::of(|field| !left_out.contains(&field))),
            (false, true) => Ok(Self::of(|field| chosen.contains(&field))),
        }
    }
}

fn named(name: &str) -> Result<Field, String> {
    let found = Field::ALL.into_iter().find(|field| field.name() == name);
    let names = || Field::ALL.map(Field::name).join(", ");
    found.ok_or_else(|| format!("{name:?} is no field of the access log: expected all, or of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of operating.md's table, in its order.
    fn documented() -> Vec<String> {
        let page = include_str!("../../../../../docs/operating.md");
        let table = page.split("### Fields of the access log").nth(1).unwrap();
        let rows = table.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
    }

    #[test]
    fn every_field_is_documented_in_the_order_in_which_it_is_written() {
        assert_eq!(documented(), Field::ALL.map(Field::name));
    }

    #[test]
    fn fields_are_chosen_or_left_out_and_keep_their_order() {
        let names =
            |text: &str| text.parse::<Fields>().map(|fields| fields.all.iter().map(|field| field.name()).collect());
        let all = Field::ALL.map(Field::name).to_vec();
        let without = |left_out: &[&str]| all.iter().copied().filter(|name| !left_out.contains(name)).collect();
        for (text, expected) in [
            ("all", all.clone()),
            ("status, time", vec!["time", "status"]),
            ("-client, -consumer_name", without(&["client", "consumer_name"])),
            ("all, -client", without(&["client"])),
        ] {
            assert_eq!(names(text), Ok(expected), "{text}");
        }
        for (text, problem) in [
            ("", "expected all, or fields such as time, status, path"),
            ("time, -client", "expected either the fields to write, or fields to leave out (-NAME)"),
            ("all, time", "expected either all, or the fields to write"),
            ("user", "\"user\" is no field of the access log: expected all, or of time, request_id, "),
            ("-user", "\"user\" is no field of the access log: expected all, or of time, request_id, "),
        ] {
            assert!(names(text).unwrap_err().starts_with(problem), "{text}: {:?}", names(text));
        }
    }

    #[test]
    fn senders_are_noted_only_for_fields_that_need_it() {
        let are_noted = |text: &str| text.parse::<Fields>().unwrap().are_noted();
        assert!(are_noted("all") && are_noted("token_hint"));
        assert!(!are_noted("time, path, upstream"));
    }
}
