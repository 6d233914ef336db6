//! Redirect URIs: which may be registered, which one is requested, and adding parameters to them.
//!
//! Everything before the query is kept byte for byte: nothing is normalised, so the browser is sent to
//! exactly what the client registered (oauth2.md §2.1, §3.5). Native apps' URIs (`myapp://cb`) are
//! allowed.

use std::collections::BTreeMap;

use serde_json::Value;
use url::{Host, Url};

use crate::profile::LoopbackPort;
use tollgate_plugin::arguments;

/// The schema's rule for a registered URI.
pub fn check(value: &Value) -> Result<(), String> {
    check_if(value, |parts| parts.has_scheme_and_host())
}

/// The same where native apps may register URIs of a scheme of their own, without a host (RFC 8252 §7.1).
pub fn check_with_private_use(value: &Value) -> Result<(), String> {
    check_if(value, |parts| parts.has_scheme_and_host() || parts.is_private_use())
}

fn check_if(value: &Value, is_accepted: impl FnOnce(&Parts<'_>) -> bool) -> Result<(), String> {
    let uri = value.as_str().unwrap_or_default();
    let parts = Parts::of(uri);
    if !is_accepted(&parts) {
        return Err(format!("cannot parse '{uri}'"));
    }
    if parts.fragment.is_some() {
        return Err(format!("fragment not allowed in '{uri}'"));
    }
    Ok(())
}

/// Whether a registered URI is of a native app's own scheme, without a host (RFC 8252 §7.1).
pub fn is_private_use(uri: &str) -> bool {
    Parts::of(uri).is_private_use()
}

/// Whether a response to it crosses a network in the open: `http`, but for loopback addresses (RFC 9700 §2.6).
pub fn is_open(uri: &str) -> bool {
    let is_loopback = |uri: &Url| match uri.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    // What cannot be read may be read by a browser.
    Url::parse(uri).ok().is_none_or(|uri| uri.scheme() == "http" && !is_loopback(&uri))
}

/// Whether the requested URI is registered (RFC 6749 §3.1.2.3): the same text, or, if `loopback`
/// allows it, a loopback address that differs only in the port (RFC 8252 §7.3).
pub fn is_registered(registered: &[String], requested: &str, loopback: LoopbackPort) -> bool {
    registered.iter().any(|uri| uri == requested)
        || (loopback == LoopbackPort::Any && registered.iter().any(|uri| differ_in_port_alone(uri, requested)))
}

fn differ_in_port_alone(registered: &str, requested: &str) -> bool {
    let without_port = |uri: &str| {
        let mut uri = Url::parse(uri).ok().filter(|uri| uri.scheme() == "http")?;
        let loopback = match uri.host()? {
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
            Host::Domain(_) => false,
        };
        (loopback && uri.set_port(None).is_ok()).then_some(uri)
    };
    matches!((without_port(registered), without_port(requested)), (Some(one), Some(other)) if one == other)
}

/// The URI with these parameters in its query. Parameters with the same names are replaced, others kept;
/// all are sorted.
pub fn with_query(uri: &str, parameters: &[(&str, String)]) -> String {
    let parts = Parts::of(uri);
    let query = merged(parts.query.unwrap_or_default(), parameters);
    let fragment = parts.fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{}?{query}{fragment}", parts.before_query)
}

/// The URI with these parameters as its fragment; the query is unchanged.
pub fn with_fragment(uri: &str, parameters: &[(&str, String)]) -> String {
    let bare = uri.split_once('#').map_or(uri, |(bare, _)| bare);
    format!("{bare}#{}", merged("", parameters))
}

fn merged(query: &str, parameters: &[(&str, String)]) -> String {
    let mut by_key: BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>> = BTreeMap::new();
    for argument in arguments::parse(query.as_bytes()) {
        by_key.entry(argument.key.into_owned()).or_default().push(argument.value.map(|value| value.into_owned()));
    }
    for (name, value) in parameters {
        by_key.insert(name.as_bytes().to_vec(), vec![Some(value.as_bytes().to_vec())]);
    }
    arguments::write(
        by_key.iter().flat_map(|(key, values)| values.iter().map(|value| (key.as_slice(), value.as_deref()))),
    )
}

/// A URI split at its first `?` and `#`.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    before_query: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(uri: &'a str) -> Self {
        let (rest, fragment) = match uri.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (uri, None),
        };
        match rest.split_once('?') {
            Some((before_query, query)) => Self { before_query, query: Some(query), fragment },
            None => Self { before_query: rest, query: None, fragment },
        }
    }

    /// Such a scheme is a domain name in reverse, so it has a period; one slash follows, and no host.
    fn is_private_use(&self) -> bool {
        let Some((scheme, path)) = self.before_query.split_once(':') else { return false };
        let is_label = |label: &str| label.starts_with(|first: char| first.is_ascii_alphabetic());
        let is_reversed = scheme.contains('.') && scheme.split('.').all(|label| !label.is_empty());
        let is_plain = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let is_path = path.starts_with('/') && !path.starts_with("//");
        let is_printable = self.before_query.bytes().all(|byte| byte.is_ascii_graphic());
        is_label(scheme) && is_reversed && is_plain && is_path && is_printable
    }

    fn has_scheme_and_host(&self) -> bool {
        let Some((scheme, rest)) = self.before_query.split_once(':') else { return false };
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphanumeric())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default());
        let host = authority.map(|authority| authority.rsplit('@').next().unwrap_or_default());
        is_scheme && host.is_some_and(|host| !host.is_empty() && !host.starts_with(':'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_uris_with_scheme_and_host_and_no_fragment_are_registered() {
        for uri in ["http://google.test/kong?foo=bar", "https://a.test", "myapp://cb", "http://[::1]:8080/cb"] {
            assert_eq!(check(&json!(uri)), Ok(()), "{uri}");
        }
        for uri in
            ["", "not a url", "custom:/cb", "urn:ietf:wg:oauth:2.0:oob", "http://", "http:///cb", "//a.test", "/cb"]
        {
            assert_eq!(check(&json!(uri)), Err(format!("cannot parse '{uri}'")));
        }
        let fragment = "http://a.test/cb#top";
        assert_eq!(check(&json!(fragment)), Err(format!("fragment not allowed in '{fragment}'")));
    }

    #[test]
    fn a_uri_is_open_unless_it_is_encrypted_or_stays_on_the_device_rfc9700_2_6() {
        for (uri, expected) in [
            ("http://shop.test/cb", true),
            ("HTTP://shop.test/cb", true),
            ("http://127.0.0.1.shop.test/cb", true),
            ("//shop.test/cb", true),
            ("https://shop.test/cb", false),
            ("http://localhost:8080/cb", false),
            ("http://127.0.0.1/cb", false),
            ("http://[::1]:1/cb", false),
            ("myapp://cb", false),
            ("com.example.app:/cb", false),
        ] {
            assert_eq!(is_open(uri), expected, "{uri}");
        }
    }

    #[test]
    fn native_apps_may_have_a_scheme_of_their_own_rfc8252_7_1() {
        for uri in ["com.example.app:/cb", "com.example.app:/oauth2/cb?x=1", "org.a-b.c1:/"] {
            assert_eq!((check_with_private_use(&json!(uri)), is_private_use(uri)), (Ok(()), true), "{uri}");
            assert_eq!(check(&json!(uri)), Err(format!("cannot parse '{uri}'")));
        }
        for uri in [
            "custom:/cb",
            "com.example.app:cb",
            "com.example.app:///cb",
            "com..app:/cb",
            ".com:/cb",
            "1.b:/cb",
            "urn:ietf:wg:oauth:2.0:oob",
            "javascript:/alert(1)",
            "com.example.app:/a b",
            "http:/cb",
            "com.example.app:",
        ] {
            assert_eq!(check_with_private_use(&json!(uri)), Err(format!("cannot parse '{uri}'")), "{uri}");
        }
        let fragment = "com.example.app:/cb#top";
        assert_eq!(check_with_private_use(&json!(fragment)), Err(format!("fragment not allowed in '{fragment}'")));
        assert!(!is_private_use("myapp://cb") && check_with_private_use(&json!("myapp://cb")).is_ok());
    }

    #[test]
    fn parameters_are_added_to_the_query_sorted_and_escaped() {
        let code = |value: &str| vec![("code", value.to_owned())];
        let state = |value: &str| vec![("code", "abc".to_owned()), ("state", value.to_owned())];
        for (uri, parameters, expected) in [
            ("http://google.test/kong?foo=bar&code=123", code("abc"), "http://google.test/kong?code=abc&foo=bar"),
            ("http://google.test", code("abc"), "http://google.test?code=abc"),
            ("myapp://cb", code("abc"), "myapp://cb?code=abc"),
            (
                "http://a.test/",
                state("a-b.c~d_e f+g/h&i=j"),
                "http://a.test/?code=abc&state=a%2db%2ec%7ed_e%20f%2bg%2fh%26i%3dj",
            ),
            ("http://a.test/", state(""), "http://a.test/?code=abc&state"),
            ("http://a.test/?flag&empty=", code("abc"), "http://a.test/?code=abc&empty&flag=true"),
            ("http://a.test/?a=2&a=1", code("abc"), "http://a.test/?a=2&a=1&code=abc"),
        ] {
            assert_eq!(with_query(uri, &parameters), expected);
        }
        let many: Vec<String> = (100..350).map(|number| format!("a{number}=1")).collect();
        let uri = format!("http://a.test/?{}", many.join("&"));
        assert_eq!(with_query(&uri, &code("abc")), format!("{uri}&code=abc"), "no argument is lost");
    }

    #[test]
    fn implicit_responses_go_into_the_fragment_and_keep_the_query() {
        let parameters = [("token_type", "bearer".to_owned()), ("access_token", "t".to_owned())];
        assert_eq!(
            with_fragment("http://a.test/cb?z=1&a=2", &parameters),
            "http://a.test/cb?z=1&a=2#access_token=t&token_type=bearer"
        );
    }

    #[test]
    fn a_requested_uri_must_equal_a_registered_one() {
        let registered = ["http://a.test/cb".to_owned(), "http://127.0.0.1/cb".to_owned()];
        assert!(is_registered(&registered, "http://a.test/cb", LoopbackPort::Exact));
        for other in ["http://a.test/cb/", "HTTP://a.test/cb", "http://a.test/cb?x=1", "http://127.0.0.1:81/cb", ""] {
            assert!(!is_registered(&registered, other, LoopbackPort::Exact), "{other}");
        }
    }

    #[test]
    fn native_apps_may_listen_on_any_loopback_port_rfc8252_7_3() {
        let registered =
            ["http://127.0.0.1/cb".to_owned(), "http://[::1]:1/cb".to_owned(), "http://a.test/cb".to_owned()];
        for (uri, accepted) in [
            ("http://127.0.0.1:54321/cb", true),
            ("http://[::1]:54321/cb", true),
            ("http://127.0.0.1:54321/other", false),
            ("http://a.test:81/cb", false),
            ("http://localhost:81/cb", false),
        ] {
            assert_eq!(is_registered(&registered, uri, LoopbackPort::Any), accepted, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_checked_and_extended(uri in "\\PC{0,60}", state in "\\PC{0,40}") {
            let _ = check(&json!(uri));
            let extended = with_query(&uri, &[("state", state.clone())]);
            let query = Parts::of(&extended).query.unwrap_or_default();
            let read = arguments::parse(query.as_bytes()).find(|argument| *argument.key == *b"state");
            let value = read.and_then(|argument| argument.value).unwrap_or_default();
            prop_assert_eq!(value.as_ref(), state.as_bytes());
        }

        #[test]
        fn everything_added_is_of_the_plain_alphabet(state in "\\PC{0,40}") {
            let extended = with_query("myapp://cb", &[("state", state)]);
            let added = extended.strip_prefix("myapp://cb?").unwrap_or_default();
            prop_assert!(added.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_%=&".contains(&byte)));
        }
    }
}
