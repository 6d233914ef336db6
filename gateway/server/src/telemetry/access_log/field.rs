//! The fields of a line, and which of them are written (`access_log_fields`).

use std::str::FromStr;

/// A field of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// When it ended, RFC 3339 in UTC.
    Time,
    /// Its id, as in `X-Kong-Request-Id`.
    RequestId,
    /// The W3C trace that it belongs to.
    TraceId,
    /// The client's address, after real-ip processing.
    Client,
    /// The version of TLS.
    Tls,
    /// The method.
    Method,
    /// The path as received, without query.
    Path,
    /// The status sent; 0 if the client disconnected before one could be sent.
    Status,
    /// Why the gateway responded instead of the upstream; a stable code.
    Reason,
    /// The matched route's id.
    Route,
    /// Its name, as in metrics.
    RouteName,
    /// Its service's id.
    Service,
    /// The service's name, as in metrics.
    ServiceName,
    /// The consumer's id.
    Consumer,
    /// Its username.
    ConsumerName,
    /// The id of the credential.
    Credential,
    /// The credential's public name.
    ClientId,
    /// The last characters of the token.
    TokenHint,
    /// The address of the upstream.
    Upstream,
    /// Attempts after the first.
    Retries,
    /// Body bytes from the client.
    BytesIn,
    /// Body bytes to the client.
    BytesOut,
    /// From the request's head to the end of the response.
    TotalMs,
    /// Until the request was sent upstream.
    ProxyMs,
    /// From then until the upstream's response head.
    UpstreamMs,
    /// For how many seconds no changes were heard.
    ServedStale,
}

impl Field {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 26] = [
        Self::Time,
        Self::RequestId,
        Self::TraceId,
        Self::Client,
        Self::Tls,
        Self::Method,
        Self::Path,
        Self::Status,
        Self::Reason,
        Self::Route,
        Self::RouteName,
        Self::Service,
        Self::ServiceName,
        Self::Consumer,
        Self::ConsumerName,
        Self::Credential,
        Self::ClientId,
        Self::TokenHint,
        Self::Upstream,
        Self::Retries,
        Self::BytesIn,
        Self::BytesOut,
        Self::TotalMs,
        Self::ProxyMs,
        Self::UpstreamMs,
        Self::ServedStale,
    ];

    /// Its name in lines and in the setting.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::RequestId => "request_id",
            Self::TraceId => "trace_id",
            Self::Client => "client",
            Self::Tls => "tls",
            Self::Method => "method",
            Self::Path => "path",
            Self::Status => "status",
            Self::Reason => "reason",
            Self::Route => "route",
            Self::RouteName => "route_name",
            Self::Service => "service",
            Self::ServiceName => "service_name",
            Self::Consumer => "consumer",
            Self::ConsumerName => "consumer_name",
            Self::Credential => "credential",
            Self::ClientId => "client_id",
            Self::TokenHint => "token_hint",
            Self::Upstream => "upstream",
            Self::Retries => "retries",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::TotalMs => "total_ms",
            Self::ProxyMs => "proxy_ms",
            Self::UpstreamMs => "upstream_ms",
            Self::ServedStale => "served_stale",
        }
    }

    /// Whether plugins tell it ([`Notes`](tollgate_core::notes::Notes)).
    fn is_noted(self) -> bool {
        matches!(self, Self::Consumer | Self::ConsumerName | Self::Credential | Self::ClientId | Self::TokenHint)
    }
}

/// The fields that are written, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl Default for Fields {
    fn default() -> Self {
        Self(Field::ALL.to_vec())
    }
}

impl Fields {
    /// In order.
    pub(super) fn as_slice(&self) -> &[Field] {
        &self.0
    }

    /// Whether any of them is told by plugins.
    pub(super) fn are_noted(&self) -> bool {
        self.0.iter().any(|field| field.is_noted())
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
            (true, _) => Ok(Self(Field::ALL.into_iter().filter(|field| !left_out.contains(field)).collect())),
            (false, true) => Ok(Self(Field::ALL.into_iter().filter(|field| chosen.contains(field)).collect())),
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
            |text: &str| text.parse::<Fields>().map(|fields| fields.0.iter().map(|field| field.name()).collect());
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
