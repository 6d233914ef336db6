//! Which endpoint a path is (oauth2.md §3.1). Those that the instance does not name do not exist: such paths are the
//! guard's, as any other.

use http::Method;
use tollgate_core::request::Request;

use super::Endpoint;
use crate::config::Config;
use crate::config::endpoints::{Name, Names};
use crate::issuer_identifier::{self, AUTHORIZATION_SERVER, PROTECTED_RESOURCE, WELL_KNOWN};

/// The well-known names of an instance with these endpoints.
pub fn well_known(names: Names) -> &'static [&'static str] {
    if names.has(Name::Metadata) { &[AUTHORIZATION_SERVER, PROTECTED_RESOURCE] } else { &[] }
}

impl Endpoint {
    /// The endpoint of a normalised path, with any prefix, that every instance has.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.ends_with("/oauth2/token") {
            Some(Self::Token)
        } else if path.ends_with("/oauth2/authorize") {
            Some(Self::Authorize)
        } else {
            None
        }
    }

    /// The endpoint among those that the instance names.
    pub fn named(config: &Config, request: &Request<'_>) -> Option<Self> {
        let path = request.path.strip_suffix('/').unwrap_or(request.path);
        let below_oauth2 = || Self::below_oauth2(path.rsplit_once("/oauth2/")?.1);
        let well_known = || {
            let start = path.find(WELL_KNOWN)?;
            Self::below_well_known(config, request, path.split_at(start))
        };
        let endpoint = below_oauth2().or_else(well_known);
        endpoint.filter(|endpoint| endpoint.name().is_some_and(|name| config.endpoints.names.has(name)))
    }

    fn below_oauth2(rest: &str) -> Option<Self> {
        Some(match rest {
            "introspect" => Self::Introspect,
            "revoke" => Self::Revoke,
            "par" => Self::PushedAuthorization,
            "device_authorization" => Self::DeviceAuthorization,
            "device" => Self::Device,
            "jwks" => Self::Jwks,
            "consent" => Self::Consent,
            "register" => Self::Register,
            // A registered client's own address (RFC 7592 §2).
            _ if rest.strip_prefix("register/").is_some_and(|id| !id.contains('/')) => Self::RegisteredClient,
            _ => return None,
        })
    }

    /// Below the route: `…/.well-known/NAME`; with the path inserted: `/.well-known/NAME/path`, if the path is that of the
    /// issuer or the resource.
    fn below_well_known(config: &Config, request: &Request<'_>, (before, path): (&str, &str)) -> Option<Self> {
        let path = path.strip_prefix(WELL_KNOWN)?;
        let (name, inserted) = path.split_at(path.find('/').unwrap_or(path.len()));
        let is_below_route = inserted.is_empty();
        let is_inserted = |known: &[String]| {
            let mut paths = known.iter().filter_map(|uri| issuer_identifier::path_of(uri));
            before.is_empty()
                && (inserted == issuer_identifier::route_path(request) || paths.any(|path| path == inserted))
        };
        let endpoints = &config.endpoints;
        let (endpoint, is_there) = match name {
            AUTHORIZATION_SERVER => (Self::Metadata, is_below_route || is_inserted(endpoints.issuer.as_slice())),
            PROTECTED_RESOURCE => (Self::ResourceMetadata, is_below_route || is_inserted(&endpoints.resources)),
            _ => return None,
        };
        is_there.then_some(endpoint)
    }

    fn name(self) -> Option<Name> {
        Some(match self {
            Self::Authorize | Self::Token => return None,
            Self::Introspect => Name::Introspect,
            Self::Revoke => Name::Revoke,
            Self::Metadata | Self::ResourceMetadata => Name::Metadata,
            Self::PushedAuthorization => Name::Par,
            Self::DeviceAuthorization | Self::Device => Name::Device,
            Self::Register | Self::RegisteredClient => Name::Register,
            Self::Jwks => Name::Jwks,
            Self::Consent => Name::Consent,
        })
    }

    /// The methods that it has.
    pub(super) fn methods(self) -> &'static [Method] {
        match self {
            Self::Metadata | Self::ResourceMetadata | Self::Jwks => &[Method::GET, Method::HEAD],
            Self::RegisteredClient => &[Method::GET, Method::PUT, Method::DELETE],
            Self::Authorize
            | Self::Token
            | Self::Introspect
            | Self::Revoke
            | Self::PushedAuthorization
            | Self::DeviceAuthorization
            | Self::Device
            | Self::Register
            | Self::Consent => &[Method::POST],
        }
    }

    /// Whether clients that run in browsers use it: not the login page's back end, nor resource servers.
    pub(super) fn is_for_browsers(self) -> bool {
        !matches!(self, Self::Authorize | Self::Device | Self::Introspect | Self::Consent)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_core::request::Addressed;

    use super::*;
    use crate::config::tests::config;
    use crate::endpoint::tests::Post;

    const ALL: [&str; 8] = ["introspect", "revoke", "metadata", "par", "device", "register", "jwks", "consent"];

    fn named(config: &Config, path: &str, matched: &str) -> Option<Endpoint> {
        let post = Post::new(path, "");
        let mut request = post.request();
        request.addressed = Addressed { matched, ..Addressed::default() };
        Endpoint::named(config, &request)
    }

    #[test]
    fn a_path_is_an_endpoint_if_the_instance_names_it() {
        let all = config(&json!({"endpoints": ALL}));
        for (path, endpoint, name) in [
            ("/oauth2/introspect", Some(Endpoint::Introspect), "introspect"),
            ("/a/oauth2/introspect/", Some(Endpoint::Introspect), "introspect"),
            ("/a/oauth2/revoke", Some(Endpoint::Revoke), "revoke"),
            ("/oauth2/par", Some(Endpoint::PushedAuthorization), "par"),
            ("/oauth2/device_authorization", Some(Endpoint::DeviceAuthorization), "device"),
            ("/oauth2/device", Some(Endpoint::Device), "device"),
            ("/oauth2/jwks", Some(Endpoint::Jwks), "jwks"),
            ("/oauth2/consent", Some(Endpoint::Consent), "consent"),
            ("/oauth2/register", Some(Endpoint::Register), "register"),
            ("/oauth2/register/abc", Some(Endpoint::RegisteredClient), "register"),
            ("/oauth2/register/abc/d", None, "register"),
            ("/xoauth2/revoke", None, "revoke"),
            ("/oauth2/revoke/x", None, "revoke"),
            ("/oauth2/Revoke", None, "revoke"),
            ("/oauth2/", None, "revoke"),
        ] {
            assert_eq!(named(&all, path, "/"), endpoint, "{path}");
            let others = ALL.into_iter().filter(|other| *other != name).collect::<Vec<_>>();
            assert_eq!(named(&config(&json!({"endpoints": others})), path, "/"), None, "{path} without {name}");
        }
    }

    #[test]
    fn metadata_is_below_the_route_and_where_its_path_is_inserted_rfc8414_3_1() {
        let derived = config(&json!({"endpoints": ["metadata"]}));
        let elsewhere = config(&json!({"endpoints": ["metadata"], "issuer": "https://as.test/x/y"}));
        let named_resources = config(&json!({"endpoints": ["metadata"], "resources": ["urn:a", "https://a.test/r"]}));
        let (server, resource) = (Some(Endpoint::Metadata), Some(Endpoint::ResourceMetadata));
        for (config, path, matched, endpoint) in [
            (&derived, "/api/.well-known/oauth-authorization-server", "/api", server),
            (&derived, "/api/.well-known/oauth-authorization-server/", "/api", server),
            (&derived, "/.well-known/oauth-authorization-server/api", "/api", server),
            (&derived, "/.well-known/oauth-authorization-server/api/", "/api/", server),
            (&derived, "/.well-known/oauth-authorization-server/api/v1", "/api", None),
            (&derived, "/.well-known/oauth-authorization-server", "", server),
            (&derived, "/.well-known/oauth-authorization-serverx", "", None),
            (&derived, "/.well-known/openid-configuration", "", None),
            (&derived, "/api/.well-known/oauth-authorization-server/api", "/api", None),
            (&derived, "/oauth2/.well-known/oauth-authorization-server", "/oauth2", server),
            (&derived, "/.well-known/oauth-authorization-server/a/oauth2/b", "/a/oauth2/b", server),
            (&derived, "/api/.well-known/oauth-protected-resource", "/api", resource),
            (&derived, "/.well-known/oauth-protected-resource/api", "/api", resource),
            (&elsewhere, "/.well-known/oauth-authorization-server/x/y", "/", server),
            (&elsewhere, "/.well-known/oauth-authorization-server/x", "/", None),
            (&named_resources, "/.well-known/oauth-protected-resource/r", "/", resource),
            (&named_resources, "/.well-known/oauth-protected-resource/s", "/", None),
        ] {
            assert_eq!(named(config, path, matched), endpoint, "{path} {matched}");
        }
        assert_eq!(named(&config(&json!({"endpoints": ["jwks"]})), "/.well-known/oauth-protected-resource", ""), None);
    }
}
