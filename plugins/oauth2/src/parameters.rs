//! The parameters of a request to an endpoint: query and body merged, the body taking precedence
//! (oauth2.md §3.2).
//!
//! Bodies are read by content type: form, JSON object, multipart. Any other body, or an unreadable
//! one, is ignored. A repeated parameter is refused later (RFC 6749 §3.1, §3.2), by the endpoint,
//! which decides which error is reported.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Map, Value};
use tollgate_core::request::{Request, RequestBody};
use tollgate_plugin::{arguments, json_object, multipart};

/// The known parameters; others are dropped.
const NAMES: [&str; 23] = [
    "action",
    "authenticated_userid",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "device_code",
    "dpop_jkt",
    "grant_type",
    "provision_key",
    "redirect_uri",
    "refresh_token",
    "request_uri",
    "response_type",
    "scope",
    "state",
    "token",
    "token_type_hint",
    "user_code",
];

/// The parameters of an authorization request, as they are pushed (RFC 9126 §2.1).
const AUTHORIZATION_REQUEST: [&str; 7] =
    ["code_challenge", "code_challenge_method", "dpop_jkt", "redirect_uri", "response_type", "scope", "state"];

/// What a request that names a pushed one says itself: who asks, and for whom.
const BESIDE_PUSHED: [&str; 3] = ["authenticated_userid", "client_id", "provision_key"];

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// Text without NUL.
    Text(String),
    /// Another JSON value; also `true` for a query argument without `=`.
    Other(Value),
    /// Bytes that are not UTF-8, or text with NUL.
    Unreadable,
    /// Repeated.
    Repeated,
}

impl Parameter {
    /// The text; `None` for any other value.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) | Self::Unreadable | Self::Repeated => None,
        }
    }

    fn of_bytes(bytes: Cow<'_, [u8]>) -> Self {
        String::from_utf8(bytes.into_owned()).map_or(Self::Unreadable, Self::of_text)
    }

    fn of_text(text: String) -> Self {
        if text.contains('\0') { Self::Unreadable } else { Self::Text(text) }
    }

    fn of_json(value: Value) -> Self {
        match value {
            Value::String(text) => Self::of_text(text),
            other => Self::Other(other),
        }
    }
}

/// The parameters of one request.
#[derive(Clone, Default)]
pub struct Parameters {
    by_name: BTreeMap<&'static str, Parameter>,
    /// The only parameter that may be repeated (RFC 8707 §2).
    resources: Vec<Parameter>,
    secret_in_query: bool,
    /// Those that a query or form has without `=`.
    bare: BTreeSet<&'static str>,
}

impl Parameters {
    /// Reads query and body.
    pub fn read(request: &Request<'_>) -> Self {
        let mut merged = Self::default();
        merged.add_pairs(request.query.unwrap_or_default().as_bytes());
        merged.secret_in_query = merged.get("client_secret").is_some();
        if let RequestBody::Read(body) = &request.body {
            let content_type = request.headers.get(http::header::CONTENT_TYPE);
            let in_body = Self::of_body(content_type.and_then(|value| value.to_str().ok()).unwrap_or_default(), body);
            merged.bare.retain(|name| !in_body.by_name.contains_key(name));
            merged.bare.extend(in_body.bare);
            merged.by_name.extend(in_body.by_name);
            if !in_body.resources.is_empty() {
                merged.resources = in_body.resources;
            }
        }
        merged
    }

    /// The same without those that have no value (RFC 6749 §3.1, §3.2). A repeated one stays.
    #[must_use]
    pub fn without_empty(mut self) -> Self {
        let is_empty = |name: &str, value: &Parameter| match value {
            Parameter::Text(text) => text.is_empty(),
            Parameter::Other(Value::Bool(true)) => self.bare.contains(name),
            Parameter::Other(_) | Parameter::Unreadable | Parameter::Repeated => false,
        };
        self.by_name.retain(|name, value| !is_empty(name, value));
        self.resources.retain(|value| value.text() != Some(""));
        self.secret_in_query = self.secret_in_query && self.by_name.contains_key("client_secret");
        self
    }

    /// One parameter.
    pub fn get(&self, name: &'static str) -> Option<&Parameter> {
        self.by_name.get(name)
    }

    /// One parameter's text; `None` also for any other value.
    pub fn text(&self, name: &'static str) -> Option<&str> {
        self.get(name).and_then(Parameter::text)
    }

    /// The values of `resource`, in order.
    pub fn resources(&self) -> &[Parameter] {
        &self.resources
    }

    /// The first repeated parameter, by name.
    pub fn repeated(&self) -> Option<&'static str> {
        self.by_name.iter().find(|(_, value)| **value == Parameter::Repeated).map(|(name, _)| *name)
    }

    /// Whether the client secret is in the query, which logs and browser histories keep.
    pub fn has_secret_in_query(&self) -> bool {
        self.secret_in_query
    }

    /// The parameters of an authorization request, as a JSON object. Values that cannot be read are refused before.
    pub fn authorization_request(&self) -> Value {
        let value = |name: &str| match self.by_name.get(name)? {
            Parameter::Text(text) => Some(Value::from(text.as_str())),
            Parameter::Other(value) => Some(value.clone()),
            Parameter::Unreadable | Parameter::Repeated => None,
        };
        let present = |name: &str| Some((name.to_owned(), value(name)?));
        let mut request: Map<String, Value> = AUTHORIZATION_REQUEST.into_iter().filter_map(present).collect();
        let resources: Vec<&str> = self.resources.iter().filter_map(Parameter::text).collect();
        if !resources.is_empty() {
            request.insert("resource".to_owned(), resources.into());
        }
        Value::Object(request)
    }

    /// The parameters of an authorization request that was pushed, with what this request itself says.
    #[must_use]
    pub fn with_authorization_request(&self, pushed: &Value) -> Self {
        let mut merged = Self { secret_in_query: self.secret_in_query, ..Self::default() };
        for name in BESIDE_PUSHED {
            merged.by_name.extend(self.by_name.get(name).map(|value| (name, value.clone())));
        }
        for name in AUTHORIZATION_REQUEST {
            merged.by_name.extend(pushed.get(name).map(|value| (name, Parameter::of_json(value.clone()))));
        }
        if let Some(resources) = pushed.get("resource") {
            merged.add(b"resource", Parameter::of_json(resources.clone()));
        }
        merged
    }

    fn of_body(content_type: &str, body: &Bytes) -> Self {
        let mut found = Self::default();
        let is = |kind: &str| content_type.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind));
        if is("application/x-www-form-urlencoded") {
            found.add_pairs(body);
        } else if is("application/json") {
            for member in json_object::members(body).unwrap_or_default() {
                found.add(member.name.as_bytes(), Parameter::of_json(member.value));
            }
        } else if is("multipart/form-data") {
            found.add_parts(content_type, body);
        }
        found
    }

    fn add_pairs(&mut self, pairs: &[u8]) {
        for argument in arguments::parse(pairs).take(arguments::MAX_READ) {
            if argument.value.is_none() {
                self.bare.extend(NAMES.into_iter().find(|known| known.as_bytes() == &*argument.key));
            }
            let value = argument.value.map_or(Parameter::Other(Value::Bool(true)), Parameter::of_bytes);
            self.add(&argument.key, value);
        }
    }

    fn add_parts(&mut self, content_type: &str, body: &Bytes) {
        let (parts, _) = multipart::read(content_type, body);
        for part in parts.into_iter().take(arguments::MAX_READ) {
            let Some(name) = part.name else { continue };
            self.add(name.as_bytes(), Parameter::of_bytes(Cow::Borrowed(&part.value)));
        }
    }

    fn add(&mut self, name: &[u8], value: Parameter) {
        if name == b"resource" {
            match value {
                Parameter::Other(Value::Array(values)) => {
                    self.resources.extend(values.into_iter().map(Parameter::of_json))
                }
                Parameter::Other(Value::Null) => {}
                value => self.resources.push(value),
            }
            return;
        }
        let Some(name) = NAMES.into_iter().find(|known| known.as_bytes() == name) else { return };
        self.by_name.entry(name).and_modify(|known| *known = Parameter::Repeated).or_insert(value);
    }

    /// The parameters of a JSON object.
    #[cfg(test)]
    pub(crate) fn of(members: &Value) -> Self {
        let mut parameters = Self::default();
        for (name, value) in members.as_object().into_iter().flatten() {
            parameters.add(name.as_bytes(), Parameter::of_json(value.clone()));
        }
        parameters
    }
}

impl std::fmt::Debug for Parameters {
    /// Only names: the values are codes, tokens and secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn query(text: &str) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.add_pairs(text.as_bytes());
        parameters
    }

    fn body(content_type: &str, text: &str) -> Parameters {
        Parameters::of_body(content_type, &Bytes::copy_from_slice(text.as_bytes()))
    }

    const MULTIPART: &str = "--b\r\nContent-Disposition: form-data; name=\"scope\"\r\n\r\nemail profile\r\n--b--\r\n";

    #[test]
    fn a_resource_may_be_repeated_and_the_body_takes_precedence_rfc8707_2() {
        let texts = |parameters: &Parameters| {
            parameters.resources().iter().map(|value| value.text().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&query("resource=urn:a&resource=urn:b")), ["urn:a", "urn:b"]);
        assert_eq!(texts(&body("application/json", r#"{"resource":["urn:a","urn:b"]}"#)), ["urn:a", "urn:b"]);
        assert_eq!(query("resource=urn:a&resource=urn:b").repeated(), None);
    }

    #[test]
    fn a_body_is_read_by_its_content_type() {
        for (content_type, text) in [
            ("application/x-www-form-urlencoded", "scope=email+profile"),
            ("Application/X-WWW-Form-Urlencoded; charset=utf-8", "scope=email%20profile"),
            ("application/json", r#"{"scope":"email profile"}"#),
            ("multipart/form-data; boundary=b", MULTIPART),
        ] {
            assert_eq!(body(content_type, text).text("scope"), Some("email profile"), "{content_type}");
        }
        for (content_type, text) in [
            ("", "scope=email"),
            ("text/plain", "scope=email"),
            ("application/json", "scope=email"),
            ("application/json", r#"["scope"]"#),
            ("multipart/form-data", MULTIPART),
        ] {
            assert_eq!(body(content_type, text).get("scope"), None, "{content_type} {text}");
        }
    }

    #[test]
    fn values_keep_their_types() {
        let parameters = body("application/json", r#"{"scope":["a"],"code":1,"state":null,"client_id":"a\u0000"}"#);
        assert_eq!(parameters.get("scope"), Some(&Parameter::Other(json!(["a"]))));
        assert_eq!(parameters.get("code"), Some(&Parameter::Other(json!(1))));
        assert_eq!(parameters.get("state"), Some(&Parameter::Other(json!(null))));
        assert_eq!(parameters.get("client_id"), Some(&Parameter::Unreadable));
        let parameters = query("scope&code=&client_id=%ff&state=a%00");
        assert_eq!(parameters.get("scope"), Some(&Parameter::Other(json!(true))));
        assert_eq!(parameters.get("code"), Some(&Parameter::Text(String::new())));
        assert_eq!(parameters.get("client_id"), Some(&Parameter::Unreadable));
        assert_eq!(parameters.get("state"), Some(&Parameter::Unreadable));
    }

    #[test]
    fn a_repeated_parameter_is_detected_rfc6749_3_2() {
        assert_eq!(query("code=a&state=b&code=a").repeated(), Some("code"));
        assert_eq!(query("code=a&other=b&other=c").repeated(), None);
        assert_eq!(body("multipart/form-data; boundary=b", &MULTIPART.repeat(2)).repeated(), None);
        let json = |text| body("application/json", text).repeated();
        assert_eq!(json(r#"{"code":"a","state":"b","c\u006fde":"a"}"#), Some("code"));
        assert_eq!(json(r#"{"code":"a","other":1,"other":2,"state":{"code":1}}"#), None);
        let twice = MULTIPART.replace("--b--\r\n", "") + MULTIPART;
        assert_eq!(body("multipart/form-data; boundary=b", &twice).repeated(), Some("scope"));
    }

    #[test]
    fn a_parameter_without_a_value_can_be_as_none_rfc6749_3_1() {
        let names = |parameters: Parameters| parameters.without_empty().by_name.into_keys().collect::<Vec<_>>();
        assert_eq!(names(query("scope=&state&code=a&client_secret=")), ["code"]);
        assert_eq!(names(query("scope=&scope=")), ["scope"], "repeated");
        assert_eq!(names(body("application/json", r#"{"scope":"","state":true,"code":null}"#)), ["code", "state"]);
        assert!(query("resource=").without_empty().resources().is_empty());
        let mut read = query("client_secret=");
        read.secret_in_query = true;
        assert!(!read.without_empty().has_secret_in_query());
    }

    #[test]
    fn debug_output_has_no_values() {
        assert_eq!(format!("{:?}", query("client_secret=hunter2")), "{\"client_secret\"}");
    }

    proptest! {
        #[test]
        fn any_body_can_be_read(
            content_type in prop::sample::select(vec![
                "application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=b",
                "multipart/form-data; boundary=", "multipart/form-data; boundary=\"", "é",
            ]),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            part in "\\PC{0,40}",
        ) {
            let _ = Parameters::of_body(content_type, &Bytes::from(bytes));
            let _ = Parameters::of_body(content_type, &Bytes::from(MULTIPART.replace("email profile", &part)));
        }
    }
}
