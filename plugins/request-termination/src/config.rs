//! The configuration of an instance.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tollgate_plugin::{Field, Rule, Schema, Violations, config_rules};

/// The schema of `config`.
pub(crate) fn schema() -> Schema {
    Schema::new(vec![
        Field::integer("status_code").required().default(503).between(100, 599),
        Field::string("message"),
        Field::string("content_type").rule(Rule::HeaderText),
        Field::string("body"),
        Field::boolean("echo", false),
        Field::string("trigger").rule(Rule::Custom("header_name", config_rules::header_name)),
    ])
    .describe(&[
        ("status_code", "The status of the response; one below 200 ends no request and is rejected."),
        ("message", "The message of the response, sent as JSON."),
        ("content_type", "The media type of `body`."),
        ("body", "The body of the response, sent as it is instead of a message."),
        ("echo", "Whether a copy of the request is sent, for debugging."),
        ("trigger", "The header or argument that a request must have to be responded to; null responds to all."),
    ])
    .overall(consistent)
}

/// Fields that exclude each other.
fn consistent(config: &Value) -> Result<(), String> {
    let is_present = |name: &str| config.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let (content_type, body) = (is_present("content_type"), is_present("body"));
    let fault = if is_present("message") && (content_type || body) {
        "message cannot be used with content_type or body"
    } else if content_type && !body {
        "content_type requires a body"
    } else if config.get("echo") == Some(&Value::Bool(true)) && (content_type || body) {
        "echo cannot be used with content_type and body"
    } else {
        return Ok(());
    };
    Err(fault.to_owned())
}

/// An informational status is followed by another one (RFC 9110 §15.2), which nobody would send.
pub(crate) fn objections(config: &Value) -> Violations {
    match config.get("status_code").and_then(Value::as_i64) {
        Some(100..=199) => Violations::of_field("status_code", "a status below 200 does not end a request"),
        _ => Violations::new(),
    }
}

/// An instance's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) status: StatusCode,
    pub(crate) trigger: Option<Trigger>,
    pub(crate) content: Content,
}

/// What a request must have to be responded to.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) header: HeaderName,
    pub(crate) argument: String,
}

/// The content of the response.
#[derive(Debug)]
pub(crate) enum Content {
    /// A message; `None`: no body.
    Message(Option<String>),
    /// A body as it is.
    Raw { content_type: Option<HeaderValue>, body: Bytes },
    /// A copy of the request.
    Echo { message: Option<String> },
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    #[error("status_code must be between 200 and 599")]
    Status,
    #[error("trigger is not a valid header name")]
    Trigger(#[source] http::header::InvalidHeaderName),
    #[error("content_type is not valid in a header")]
    ContentType(#[source] http::header::InvalidHeaderValue),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    status_code: u16,
    message: Option<String>,
    content_type: Option<String>,
    body: Option<String>,
    echo: bool,
    trigger: Option<String>,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        let status = StatusCode::from_u16(stored.status_code).ok().filter(|status| !status.is_informational());
        let status = status.ok_or(Unreadable::Status)?;
        let message = stored.message.or_else(|| usual(status).map(str::to_owned));
        let content_type = stored.content_type.map(HeaderValue::try_from).transpose();
        let content_type = content_type.map_err(Unreadable::ContentType)?;
        let content = match stored.body {
            _ if stored.echo => Content::Echo { message },
            Some(body) => Content::Raw { content_type, body: body.into() },
            None => Content::Message(message),
        };
        let trigger = stored.trigger.map(|argument| {
            let header = HeaderName::from_bytes(argument.as_bytes()).map_err(Unreadable::Trigger)?;
            Ok::<_, Unreadable>(Trigger { header, argument })
        });
        Ok(Self { status, trigger: trigger.transpose()?, content })
    }
}

/// The message of a status that has one.
fn usual(status: StatusCode) -> Option<&'static str> {
    Some(match status {
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        StatusCode::INTERNAL_SERVER_ERROR => "An unexpected error occurred",
        StatusCode::BAD_GATEWAY => "Bad Gateway",
        StatusCode::SERVICE_UNAVAILABLE => "Service unavailable",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_core::schema::Makers;

    use super::*;

    fn stored(config: Value) -> Result<Value, Value> {
        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let schema = Schema::new(vec![Field::record("config", schema()).required()]);
        let processed = schema.process_insert(json!({ "config": config }).try_into().unwrap(), &makers);
        processed.map(|stored| stored["config"].clone()).map_err(|found| found.fields["config"].clone())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let expected = json!({
            "status_code": 503, "message": null, "content_type": null, "body": null, "echo": false, "trigger": null,
        });
        assert_eq!(stored(json!({})), Ok(expected));
    }

    #[test]
    fn faults_are_reported_in_the_documented_words() {
        let exclusive = json!("message cannot be used with content_type or body");
        let name = "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'";
        for (config, faults) in [
            (json!({"status_code": "abc"}), json!({"status_code": "expected an integer"})),
            (json!({"status_code": 99}), json!({"status_code": "value should be between 100 and 599"})),
            (json!({"status_code": 600}), json!({"status_code": "value should be between 100 and 599"})),
            (json!({"message": "a", "body": "b"}), exclusive.clone()),
            (json!({"message": "a", "content_type": "text/plain"}), exclusive),
            (json!({"content_type": "text/plain"}), json!("content_type requires a body")),
            (json!({"echo": true, "body": "a"}), json!("echo cannot be used with content_type and body")),
            (json!({"trigger": "a b"}), json!({ "trigger": name })),
            (
                json!({"body": "a", "content_type": "a\r\nb"}),
                json!({"content_type": "must not contain control characters"}),
            ),
            (json!({"text": "a"}), json!({"text": "unknown field"})),
        ] {
            assert_eq!(stored(config.clone()), Err(faults), "{config}");
        }
    }

    #[test]
    fn a_status_that_ends_no_request_is_refused() {
        let object = |status: i64| objections(&json!({ "status_code": status })).fields;
        assert_eq!(json!(object(199)), json!({"status_code": "a status below 200 does not end a request"}));
        assert_eq!(json!(object(200)), json!({}));
        let config = stored(json!({"status_code": 101})).unwrap();
        assert!(matches!(Config::try_from(&config), Err(Unreadable::Status)));
    }
}
