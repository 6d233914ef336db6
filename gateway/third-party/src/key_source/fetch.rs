//! Getting a key set from its issuer: by its URL, or by the issuer's metadata (OpenID Connect Discovery 1.0 §4,
//! RFC 8414 §3), which must name the issuer that it was asked of.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use tollgate_plugin::authority_call;
use tollgate_plugin::http_client::{self, Class};
use url::{Position, Url};

use super::{Location, Remote};
use tollgate_jose::claims::{Claims, MalformedClaims};
use tollgate_jose::{KeySet, MalformedKeySet};

/// Longer values of an issuer are cut off in errors.
const MAX_SHOWN: usize = 200;

/// A key set, and how long its issuer says that it stays as it is.
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    pub(super) max_age: Option<Duration>,
}

/// Why there is no key set.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There was no complete response.
    #[error(transparent)]
    Call(#[from] http_client::Error),
    /// Another status than 200. Redirects are not followed.
    #[error("{place}: unexpected status {status}; check the URL")]
    Status {
        /// Host and path.
        place: String,
        /// The status.
        status: StatusCode,
    },
    /// The document at the key set's URL is none.
    #[error("{place}: {error}")]
    KeySet {
        /// Host and path.
        place: String,
        /// Why.
        error: MalformedKeySet,
    },
    /// The metadata is not an object.
    #[error("{place}: the issuer's metadata is malformed: {error}")]
    Metadata {
        /// Host and path.
        place: String,
        /// Why.
        error: MalformedClaims,
    },
    /// The metadata is another issuer's.
    #[error("{place}: the metadata is of the issuer {issuer:?}; configure exactly that, or another URL")]
    OtherIssuer {
        /// Host and path.
        place: String,
        /// Whose it is.
        issuer: String,
    },
    /// The metadata has no usable `jwks_uri`.
    #[error("{place}: the metadata has no usable jwks_uri; configure the URL of the key set")]
    NoKeySetUrl {
        /// Host and path.
        place: String,
    },
    /// The configured issuer or URL cannot be called.
    #[error("the issuer or URL is not an http or https URL without query and fragment")]
    InvalidUrl,
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Stopped,
}

impl FetchError {
    /// The label in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Call(error) if error.class() == Class::Unavailable => "unavailable",
            Self::Status { status, .. } if status.is_server_error() => "unavailable",
            Self::Stopped => "unavailable",
            _ => "invalid",
        }
    }
}

/// Fetches the key set of an authority.
pub(super) async fn key_set(remote: &Remote) -> Result<Fetched, FetchError> {
    let url = match &remote.location {
        Location::KeySet(url) => parse(url)?,
        Location::Issuer(issuer) => discover(remote, issuer).await?,
    };
    let (place, response) = get(remote, &url).await?;
    let keys = KeySet::parse(response.body()).map_err(|error| FetchError::KeySet { place, error })?;
    Ok(Fetched { keys, max_age: max_age(response.headers()) })
}

/// Where the metadata of this issuer is: by OpenID, which most have, and by RFC 8414.
pub(super) fn metadata_urls(issuer: &str) -> Option<[Url; 2]> {
    let issuer = Url::parse(issuer).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if issuer.query().is_some() || issuer.fragment().is_some() {
        return None;
    }
    let path = issuer.path().trim_end_matches('/').to_owned();
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    Some([
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ])
}

async fn discover(remote: &Remote, issuer: &str) -> Result<Url, FetchError> {
    let [openid, oauth] = metadata_urls(issuer).ok_or(FetchError::InvalidUrl)?;
    let first = match key_set_url(remote, &openid, issuer).await {
        Err(FetchError::Call(error)) => return Err(error.into()),
        Err(error) => error,
        found => return found,
    };
    match key_set_url(remote, &oauth, issuer).await {
        // What is wrong with a document says more than that there is none.
        Err(FetchError::Status { .. }) if !matches!(first, FetchError::Status { .. }) => Err(first),
        found => found,
    }
}

async fn key_set_url(remote: &Remote, metadata: &Url, issuer: &str) -> Result<Url, FetchError> {
    let (place, response) = get(remote, metadata).await?;
    match Claims::parse(response.body()) {
        Ok(claims) => named_url(&claims, metadata, place, issuer),
        Err(error) => Err(FetchError::Metadata { place, error }),
    }
}

/// The `jwks_uri` in the metadata of this issuer.
fn named_url(claims: &Claims, metadata: &Url, place: String, issuer: &str) -> Result<Url, FetchError> {
    let named = claims.text("issuer").unwrap_or_default();
    if named != issuer {
        return Err(FetchError::OtherIssuer { place, issuer: named.chars().take(MAX_SHOWN).collect() });
    }
    let url = claims.text("jwks_uri").and_then(|url| parse(url).ok());
    // What was vouched for by TLS is not given up.
    let is_as_safe = |url: &Url| url.scheme() == "https" || metadata.scheme() == "http";
    url.filter(is_as_safe).ok_or(FetchError::NoKeySetUrl { place })
}

async fn get(remote: &Remote, url: &Url) -> Result<(String, Response<Bytes>), FetchError> {
    let uri = Uri::try_from(url.as_str()).map_err(|_| FetchError::InvalidUrl)?;
    let request = Request::get(uri).header(ACCEPT, "application/jwk-set+json, application/json").body(Bytes::new());
    let response = authority_call::send(&remote.profile, request.map_err(|_| FetchError::InvalidUrl)?).await?;
    let place = url[Position::BeforeHost..Position::AfterPath].to_owned();
    let status = response.status();
    if status == StatusCode::OK { Ok((place, response)) } else { Err(FetchError::Status { place, status }) }
}

fn parse(url: &str) -> Result<Url, FetchError> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or(FetchError::InvalidUrl)
}

/// The `max-age` of a response (RFC 9111 §5.2.2.1); zero if it must not be reused.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    let ages = directives.filter_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        other => other.strip_prefix("max-age=")?.trim_matches('"').parse().ok().map(Duration::from_secs),
    });
    ages.min()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use tollgate_jose::testing::members;

    #[test]
    fn metadata_is_found_where_the_issuer_has_it_rfc8414_3_1() {
        let urls = |issuer| metadata_urls(issuer).map(|urls| urls.map(String::from));
        let expected = |openid: &str, oauth: &str| Some([openid.to_owned(), oauth.to_owned()]);
        for issuer in ["https://issuer.example", "https://issuer.example/"] {
            assert_eq!(
                urls(issuer),
                expected(
                    "https://issuer.example/.well-known/openid-configuration",
                    "https://issuer.example/.well-known/oauth-authorization-server",
                )
            );
        }
        assert_eq!(
            urls("http://issuer.example:8080/realms/shop"),
            expected(
                "http://issuer.example:8080/realms/shop/.well-known/openid-configuration",
                "http://issuer.example:8080/.well-known/oauth-authorization-server/realms/shop",
            )
        );
        for issuer in ["", "issuer.example", "ftp://issuer.example", "https://a.example?b", "https://a.example#b"] {
            assert_eq!(urls(issuer), None, "{issuer}");
        }
    }

    #[test]
    fn metadata_counts_only_if_it_is_of_the_issuer_and_no_less_safe() {
        let url = |issuer: &str, document: serde_json::Value| {
            let metadata = Url::parse(issuer).unwrap();
            let claims = Claims::from(members(document));
            named_url(&claims, &metadata, "place".to_owned(), issuer).map_err(|error| error.to_string())
        };
        let (safe, plain) = ("https://issuer.example", "http://issuer.example");
        let keys = |url: &str| Ok(Url::parse(url).unwrap());
        let named = json!({"issuer": safe, "jwks_uri": "https://keys.example/all?v=1"});
        assert_eq!(url(safe, named), keys("https://keys.example/all?v=1"));
        let named = json!({"issuer": plain, "jwks_uri": "http://issuer.example/keys"});
        assert_eq!(url(plain, named), keys("http://issuer.example/keys"));
        let none = Err("place: the metadata has no usable jwks_uri; configure the URL of the key set".to_owned());
        for jwks_uri in
            [json!("http://issuer.example/keys"), json!("/keys"), json!("file:///keys"), json!(1), json!(null)]
        {
            assert_eq!(url(safe, json!({"issuer": safe, "jwks_uri": jwks_uri})), none, "{jwks_uri}");
        }
        for (named, shown) in [(json!("https://issuer.example/"), "https://issuer.example/"), (json!(null), "")] {
            let why = format!("the metadata is of the issuer {shown:?}; configure exactly that, or another URL");
            let document = json!({"issuer": named, "jwks_uri": "https://issuer.example/keys"});
            assert_eq!(url(safe, document), Err(format!("place: {why}")));
        }
    }

    #[test]
    fn the_age_of_a_response_is_the_least_that_it_names() {
        let age = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (CACHE_CONTROL, HeaderValue::from_static(value))).collect();
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(age(&["public, max-age=300, must-revalidate"]), Some(300));
        assert_eq!(age(&["Max-Age=\"60\"", "max-age=300"]), Some(60));
        assert_eq!(age(&["max-age=300, no-cache"]), Some(0));
        assert_eq!(age(&["no-store"]), Some(0));
        for values in [&[][..], &["public"], &["max-age=-1"], &["max-age=x"], &["s-maxage=5"]] {
            assert_eq!(age(values), None, "{values:?}");
        }
    }
}
