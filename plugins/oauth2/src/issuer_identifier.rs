//! The names by which clients know an instance: its issuer identifier (RFC 8414 §2), which is also the base of the
//! endpoints' addresses, and the resource that a request is for (RFC 9728 §1.2).
//!
//! What is not configured follows from the request: the origin that the client used, and the part of the path by which
//! the route was found.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tollgate_core::request::Request;
use url::Url;

use crate::config::endpoints::Endpoints;

/// What no path of a URL has as it is; `%` is kept, as the path is encoded already.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'?')
    .add(b'#');

/// The beginning of all well-known paths (RFC 8615).
pub const WELL_KNOWN: &str = "/.well-known/";
/// The well-known name of authorization server metadata (RFC 8414 §3).
pub const AUTHORIZATION_SERVER: &str = "oauth-authorization-server";
/// The well-known name of protected resource metadata (RFC 9728 §3).
pub const PROTECTED_RESOURCE: &str = "oauth-protected-resource";

/// The issuer identifier. `None`: none is configured, and the request names no host.
pub fn of(endpoints: &Endpoints, request: &Request<'_>) -> Option<String> {
    endpoints.issuer.clone().or_else(|| base(request))
}

/// The resource that a request is for: of the configured ones that are URLs the one with the longest path above the
/// request's, else the first; if none is, the origin of the request and the path of its route.
pub fn resource(endpoints: &Endpoints, request: &Request<'_>) -> Option<String> {
    let mut best: Option<(&String, Option<usize>)> = None;
    for url in urls(endpoints) {
        let path = path_of(url).filter(|path| is_below(request.path, path)).map(str::len);
        if best.is_none_or(|(_, known)| known < path) {
            best = Some((url, path));
        }
    }
    best.map(|(url, _)| url.clone()).or_else(|| base(request))
}

/// The path of an `https` or `http` URL, without slashes at its end; `None` for any other URI.
pub fn path_of(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
    let path = rest.find('/').and_then(|start| rest.get(start..)).unwrap_or_default();
    Some(path.split('?').next().unwrap_or_default().trim_end_matches('/'))
}

/// Whose origins a proof may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The endpoints, known by `issuer`.
    AuthorizationServer,
    /// What is behind the guard, known by `resources`.
    Resource,
}

/// Whether it is configured at which origins clients know a party of the instance.
pub fn has_origin(endpoints: &Endpoints, party: Party) -> bool {
    match party {
        Party::AuthorizationServer => endpoints.issuer.is_some(),
        Party::Resource => urls(endpoints).next().is_some(),
    }
}

/// Whether a request was sent to one of the origins by which clients know the instance, so that a proof that was made
/// for another server is of no use here, whatever `Host` it comes with. Where nothing is configured it cannot be told.
pub fn is_at_own_origin(endpoints: &Endpoints, party: Party, request: &Request<'_>) -> bool {
    if !has_origin(endpoints, party) {
        return true;
    }
    let Some(origin) = request.origin() else { return false };
    let is_of = |uri: &String| Url::parse(uri).is_ok_and(|url| url.origin().ascii_serialization() == origin);
    endpoints.issuer.iter().chain(urls(endpoints)).any(is_of)
}

/// The configured resources that are URLs.
fn urls(endpoints: &Endpoints) -> impl Iterator<Item = &String> {
    endpoints.resources.iter().filter(|resource| path_of(resource).is_some())
}

/// The address of a well-known document about an issuer or a resource: the name is inserted between host and path
/// (RFC 8414 §3.1, RFC 9728 §3.1).
pub fn well_known(name: &str, uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok().filter(Url::has_host)?;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = path_of(uri)?;
    Some(format!("{}{WELL_KNOWN}{name}{path}{query}", url.origin().ascii_serialization()))
}

/// The path of the request's route, without slashes at its end: what comes before the paths of the endpoints.
pub fn route_path<'r>(request: &Request<'r>) -> &'r str {
    let matched = request.addressed.matched;
    let path = request.path;
    let end = if path.starts_with(WELL_KNOWN) {
        matched.len()
    } else {
        // A regular expression may match the whole path.
        let endpoint = path.rfind("/oauth2/").map(|start| (start, start + "/oauth2/".len()));
        let endpoint = endpoint.or_else(|| path.find(WELL_KNOWN).map(|start| (start, start + WELL_KNOWN.len())));
        endpoint.map_or(matched.len(), |(start, end)| if matched.len() >= end { start } else { matched.len() })
    };
    matched.get(..end).unwrap_or_default().trim_end_matches('/')
}

/// The origin of a request and the path of its route.
pub fn base(request: &Request<'_>) -> Option<String> {
    Some(format!("{}{}", request.origin()?, utf8_percent_encode(route_path(request), NOT_IN_PATHS)))
}

/// Whether a path is this one, or begins with it and a slash.
pub fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollgate_core::host::Host;
    use tollgate_core::request::Addressed;

    use super::*;
    use crate::config::tests::config;
    use crate::endpoint::tests::Post;

    fn at<T>(path: &str, matched: &str, then: impl Fn(&Request<'_>) -> T) -> T {
        let post = Post::new(path, "");
        let host = Host::parse("api.test").unwrap();
        let mut request = post.request();
        request.addressed = Addressed { host: Some(&host), port: Some(8443), matched };
        then(&request)
    }

    #[test]
    fn an_issuer_is_configured_or_where_the_route_is() {
        let derived = |path: &str, matched: &str| {
            at(path, matched, |request| of(&config(&json!({})).endpoints, request)).unwrap()
        };
        for (path, matched, issuer) in [
            ("/oauth2/token", "/", "https://api.test:8443"),
            ("/oauth2/token", "", "https://api.test:8443"),
            ("/orders/oauth2/token", "/orders", "https://api.test:8443/orders"),
            ("/orders/eu/oauth2/token", "/orders/", "https://api.test:8443/orders"),
            ("/orders/oauth2/token", "/orders/oauth2/token", "https://api.test:8443/orders"),
            ("/oauth2/things", "/oauth2", "https://api.test:8443/oauth2"),
            ("/.well-known/oauth-authorization-server/orders", "/orders", "https://api.test:8443/orders"),
            ("/orders/.well-known/oauth-authorization-server", "/orders", "https://api.test:8443/orders"),
            ("/a\"é<b>%22/oauth2/token", "/a\"é<b>%22", "https://api.test:8443/a%22%C3%A9%3Cb%3E%22"),
        ] {
            assert_eq!(derived(path, matched), issuer, "{path} {matched}");
        }
        let configured = config(&json!({"issuer": "https://as.example/x"})).endpoints;
        assert_eq!(at("/oauth2/token", "", |request| of(&configured, request)).unwrap(), "https://as.example/x");
        assert_eq!(of(&config(&json!({})).endpoints, &Post::new("/oauth2/token", "").request()), None);
    }

    #[test]
    fn a_request_is_for_the_configured_resource_that_it_is_below() {
        let of = |resources: Value, path: &str| {
            at(path, "/orders", |request| resource(&config(&json!({"resources": resources})).endpoints, request))
                .unwrap()
        };
        let two = json!(["urn:a", "https://a.test", "https://a.test/orders", "https://a.test/orders/eu/"]);
        assert_eq!(of(json!(null), "/orders/1"), "https://api.test:8443/orders");
        assert_eq!(of(json!(["urn:a"]), "/orders/1"), "https://api.test:8443/orders");
        assert_eq!(of(two.clone(), "/orders/1"), "https://a.test/orders");
        assert_eq!(of(two.clone(), "/orders/eu"), "https://a.test/orders/eu/");
        assert_eq!(of(two, "/ordersx"), "https://a.test");
        assert_eq!(of(json!(["https://b.test/x", "https://c.test/y"]), "/orders"), "https://b.test/x");
    }

    #[test]
    fn well_known_names_are_inserted_before_the_path_rfc8414_3_1() {
        for (uri, expected) in [
            ("https://a.test", Some("https://a.test/.well-known/n")),
            ("https://a.test/", Some("https://a.test/.well-known/n")),
            ("https://a.test:8443/x/y", Some("https://a.test:8443/.well-known/n/x/y")),
            ("https://a.test/x?k=v", Some("https://a.test/.well-known/n/x?k=v")),
            ("urn:a", None),
        ] {
            assert_eq!(well_known("n", uri).as_deref(), expected, "{uri}");
        }
    }
}
