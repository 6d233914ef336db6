//! Applications registered at the gateway, and the check of an authorization request.
//!
//! Invariant: a [`Checked`] application exists only if the client is known and its redirect URI equals
//! a registered one exactly (RFC 6749 §3.1.2.3, RFC 9700 §2.1). Browsers are redirected nowhere else.

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use url::Url;

/// An application whose request may be shown to the user.
#[derive(Debug)]
pub(super) struct Checked {
    /// Its client id.
    pub(super) client_id: String,
    /// Its name.
    pub(super) name: String,
    /// Where the browser is redirected with the response.
    pub(super) redirect_uri: Url,
    /// The same, exactly as registered.
    pub(super) registered_uri: String,
}

/// Why a request must not be shown to the user.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The gateway knows no such client.
    #[error("This application is not registered with Step On.")]
    UnknownClient,
    /// It knows the client, but not that redirect URI.
    #[error("This application requests a redirect to an address that it has not registered.")]
    UnknownRedirectUri,
    /// The gateway does not respond.
    #[error("Step On cannot look up applications at the moment.")]
    Unavailable,
}

/// The registry of applications: the gateway's Admin API.
#[derive(Debug)]
pub(super) struct Applications {
    admin: Url,
    client: Client,
}

#[derive(Deserialize)]
struct Credential {
    name: String,
    client_id: String,
    redirect_uris: Option<Vec<String>>,
}

impl Applications {
    /// The registry of the gateway whose Admin API is at `admin`.
    pub(super) fn registered_at(admin: Url, client: Client) -> Self {
        Self { admin, client }
    }

    /// Checks the client and its redirect URI, by default its first registered one.
    pub(super) async fn check(&self, client_id: &str, redirect_uri: Option<&str>) -> Result<Checked, Refusal> {
        let credential = self.find(client_id).await?.ok_or(Refusal::UnknownClient)?;
        let registered = credential.redirect_uris.unwrap_or_default();
        let wanted = redirect_uri.or(registered.first().map(String::as_str));
        let uri = registered.iter().find(|uri| Some(uri.as_str()) == wanted).ok_or(Refusal::UnknownRedirectUri)?;
        Ok(Checked {
            client_id: credential.client_id,
            name: credential.name,
            redirect_uri: Url::parse(uri).map_err(|_| Refusal::UnknownRedirectUri)?,
            registered_uri: uri.clone(),
        })
    }

    async fn find(&self, client_id: &str) -> Result<Option<Credential>, Refusal> {
        let mut url = self.admin.clone();
        // As one path segment: an id with a slash must not become a different path.
        match url.path_segments_mut() {
            Ok(mut path) if !client_id.is_empty() && client_id != "." && client_id != ".." => {
                path.clear().extend(["oauth2", client_id]);
            }
            _ => return Ok(None),
        }
        let response = self.client.get(url).send().await.map_err(|_| Refusal::Unavailable)?;
        match response.status() {
            StatusCode::OK => {
                let credential: Credential = response.json().await.map_err(|_| Refusal::Unavailable)?;
                // The Admin API also finds credentials by their internal id; only `client_id` counts.
                Ok(Some(credential).filter(|credential| credential.client_id == client_id))
            }
            status if status.is_client_error() => Ok(None),
            _ => Err(Refusal::Unavailable),
        }
    }
}

impl Checked {
    /// Whether the browser may be redirected to `url`: it must equal the redirect URI, apart from query and
    /// fragment.
    pub(super) fn allows_redirect_to(&self, url: &Url) -> bool {
        let place = |uri: &Url| {
            (
                uri.scheme().to_owned(),
                uri.host_str().map(str::to_owned),
                uri.port_or_known_default(),
                uri.path().to_owned(),
            )
        };
        place(url) == place(&self.redirect_uri)
    }

    /// Where the browser is redirected if the user denies access (RFC 6749 §4.1.2.1).
    pub(super) fn denied(&self, state: Option<&str>) -> Url {
        let mut uri = self.redirect_uri.clone();
        let mut query = uri.query_pairs_mut();
        query.append_pair("error", "access_denied").append_pair("error_description", "The user denied access");
        if let Some(state) = state {
            query.append_pair("state", state);
        }
        drop(query);
        uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(uri: &str) -> Checked {
        Checked {
            client_id: "id".to_owned(),
            name: "App".to_owned(),
            redirect_uri: Url::parse(uri).unwrap(),
            registered_uri: uri.to_owned(),
        }
    }

    #[test]
    fn a_redirect_may_differ_from_the_registered_uri_only_in_query_and_fragment() {
        let application = checked("https://shop.example/cb?shop=1");
        let cases = [
            ("https://shop.example/cb?code=x&shop=1", true),
            ("https://shop.example:443/cb#access_token=x", true),
            ("https://shop.example/cb/?code=x", false),
            ("http://shop.example/cb?code=x", false),
            ("https://shop.example:444/cb?code=x", false),
            ("https://evil.example/cb?code=x", false),
        ];
        for (url, expected) in cases {
            assert_eq!(application.allows_redirect_to(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_refusal_keeps_the_registered_query_and_the_state_rfc6749_4_1_2_1() {
        let uri = checked("http://shop.example/cb?shop=1").denied(Some("a b"));
        let expected =
            "http://shop.example/cb?shop=1&error=access_denied&error_description=The+user+denied+access&state=a+b";
        assert_eq!(uri.as_str(), expected);
    }
}
