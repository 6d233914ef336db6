//! What of a request is hashed, so that requests that are alike there go to the same endpoint.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::spec::{HashOn, UpstreamSpec};

/// A request, as far as it may be hashed.
pub struct Input<'r> {
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Its client.
    pub client: Option<IpAddr>,
    /// Its consumer.
    pub consumer: Option<Uuid>,
    /// Its path.
    pub path: &'r str,
    /// Its query.
    pub query: Option<&'r str>,
    /// The text of a capture of its route's path.
    pub capture: &'r dyn Fn(&str) -> Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Consumer,
    Ip,
    Header(HeaderName),
    Cookie { name: String, path: String },
    Path,
    QueryArg(String),
    UriCapture(String),
}

/// What is hashed: the first of these that a request has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HashInputs(Vec<Source>);

/// A cookie that the response sets, so that later requests have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCookie(HeaderValue);

impl NewCookie {
    /// The value of `Set-Cookie`.
    pub fn into_value(self) -> HeaderValue {
        self.0
    }
}

impl HashInputs {
    /// Those of an upstream.
    pub(super) fn new(spec: &UpstreamSpec) -> Self {
        let cookie = || Source::Cookie {
            name: spec.hash_on_cookie.clone().unwrap_or_default(),
            path: spec.hash_on_cookie_path.clone().unwrap_or_else(|| "/".to_owned()),
        };
        let source =
            |on: Option<HashOn>, header: &Option<String>, argument: &Option<String>, capture: &Option<String>| {
                Some(match on? {
                    HashOn::None => return None,
                    HashOn::Consumer => Source::Consumer,
                    HashOn::Ip => Source::Ip,
                    HashOn::Header => Source::Header(HeaderName::try_from(header.as_deref()?).ok()?),
                    HashOn::Cookie => cookie(),
                    HashOn::Path => Source::Path,
                    HashOn::QueryArg => Source::QueryArg(argument.clone()?),
                    HashOn::UriCapture => Source::UriCapture(capture.clone()?),
                })
            };
        let first = source(spec.hash_on, &spec.hash_on_header, &spec.hash_on_query_arg, &spec.hash_on_uri_capture);
        let fallback = source(
            spec.hash_fallback,
            &spec.hash_fallback_header,
            &spec.hash_fallback_query_arg,
            &spec.hash_fallback_uri_capture,
        );
        // Without the first, there is nothing to fall back from.
        Self(first.into_iter().flat_map(|first| [Some(first), fallback.clone()]).flatten().collect())
    }

    /// What of this request is hashed, and the cookie that its response sets if that is a new one.
    pub fn key(&self, input: &Input<'_>) -> (Option<Vec<u8>>, Option<NewCookie>) {
        for source in &self.0 {
            if let Source::Cookie { name, path } = source {
                return match cookie(input.headers, name) {
                    Some(value) => (Some(value), None),
                    None => new_cookie(name, path),
                };
            }
            if let Some(key) = source.find(input) {
                return (Some(key), None);
            }
        }
        (None, None)
    }
}

impl Source {
    fn find(&self, input: &Input<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Consumer => Some(input.consumer?.as_bytes().to_vec()),
            Self::Ip => Some(input.client?.to_string().into_bytes()),
            Self::Header(name) => {
                let values: Vec<&[u8]> = input.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                (!values.is_empty()).then(|| values.join(&b", "[..]))
            }
            Self::Cookie { name, .. } => cookie(input.headers, name),
            Self::Path => Some(input.path.as_bytes().to_vec()),
            Self::QueryArg(name) => argument(input.query?, name),
            Self::UriCapture(name) => (input.capture)(name).map(String::into_bytes),
        }
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let pairs =
        headers.get_all(http::header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec)
    });
    values.next().filter(|value| !value.is_empty())
}

fn new_cookie(name: &str, path: &str) -> (Option<Vec<u8>>, Option<NewCookie>) {
    let value = Uuid::new_v4().to_string();
    let line = HeaderValue::try_from(format!("{name}={value}; Path={path}; SameSite=Lax; HttpOnly"));
    (Some(value.into_bytes()), line.ok().map(NewCookie))
}

/// The values of an argument, in order of their text.
fn argument(query: &str, name: &str) -> Option<Vec<u8>> {
    let pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known == name);
    let mut values: Vec<Cow<'_, str>> = pairs.map(|(_, value)| value).collect();
    values.sort_unstable();
    (!values.is_empty()).then(|| values.join(",").into_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(spec: serde_json::Value, headers: &[(&'static str, &'static str)]) -> Option<String> {
        found(spec, headers).0.map(|key| String::from_utf8_lossy(&key).into_owned())
    }

    fn found(
        mut spec: serde_json::Value,
        headers: &[(&'static str, &'static str)],
    ) -> (Option<Vec<u8>>, Option<NewCookie>) {
        spec["id"] = json!(Uuid::nil());
        spec["name"] = json!("u");
        let spec: UpstreamSpec = serde_json::from_value(spec).unwrap();
        let named =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: HeaderMap = named.collect();
        let input = Input {
            headers: &headers,
            client: "192.0.2.7".parse().ok(),
            consumer: None,
            path: "/a/b",
            query: Some("q=2&q=1&x=%41"),
            capture: &|name| (name == "user").then(|| "u1".to_owned()),
        };
        HashInputs::new(&spec).key(&input)
    }

    #[test]
    fn the_first_input_that_a_request_has_is_hashed() {
        let header = json!({"hash_on": "header", "hash_on_header": "X-Key", "hash_fallback": "ip"});
        assert_eq!(key(header.clone(), &[("x-key", "a")]).as_deref(), Some("a"));
        assert_eq!(key(header, &[]).as_deref(), Some("192.0.2.7"));
        let rows = [
            (json!({"hash_on": "none", "hash_fallback": "ip"}), None),
            (json!({"hash_on": "consumer"}), None),
            (json!({"hash_on": "consumer", "hash_fallback": "path"}), Some("/a/b")),
            (json!({"hash_on": "query_arg", "hash_on_query_arg": "q"}), Some("1,2")),
            (json!({"hash_on": "query_arg", "hash_on_query_arg": "x"}), Some("A")),
            (json!({"hash_on": "query_arg", "hash_on_query_arg": "none"}), None),
            (json!({"hash_on": "uri_capture", "hash_on_uri_capture": "user"}), Some("u1")),
            (
                json!({"hash_on": "uri_capture", "hash_on_uri_capture": "no", "hash_fallback": "uri_capture", "hash_fallback_uri_capture": "user"}),
                Some("u1"),
            ),
        ];
        for (spec, expected) in rows {
            assert_eq!(key(spec.clone(), &[]).as_deref(), expected, "{spec}");
        }
    }

    #[test]
    fn a_request_without_the_cookie_gets_one() {
        let spec = json!({"hash_on": "cookie", "hash_on_cookie": "sid", "hash_on_cookie_path": "/app"});
        assert_eq!(key(spec.clone(), &[("cookie", "a=b; sid=s1; c=d")]).as_deref(), Some("s1"));
        assert_eq!(key(spec.clone(), &[("cookie", "sid2=x; sid=s2")]).as_deref(), Some("s2"));
        let (key, cookie) = found(spec, &[("cookie", "sid=")]);
        let value = String::from_utf8(key.unwrap()).unwrap();
        let expected = format!("sid={value}; Path=/app; SameSite=Lax; HttpOnly");
        assert_eq!(cookie.unwrap().into_value(), expected.as_str());
    }
}
