//! The applications that are registered at the gateway, and whether one may ask.
//!
//! Invariant: there is a [`Checked`] application only when the client is known and its redirect URI
//! is exactly one that it registered (RFC 6749 §3.1.2.3, RFC 9700 §2.1). No browser is ever sent
//! anywhere else.

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use url::Url;

/// An application whose request may be shown to the user.
#[derive(Debug)]
pub(super) struct Checked {
    /// Its id, as the gateway knows it.
    pub(super) client_id: String,
    /// What it calls itself.
    pub(super) name: String,
    /// Where the browser goes with the answer.
    pub(super) redirect_uri: Url,
    /// The same, letter by letter as it was registered.
    pub(super) registered_uri: String,
}

/// Why a request must not be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The gateway knows no such client.
    #[error("This application is not registered with Step On.")]
    UnknownClient,
    /// It knows the client, but not that redirect URI.
    #[error("This application asks to be answered at an address that it has not registered.")]
    UnknownRedirectUri,
    /// The gateway does not answer.
    #[error("Step On cannot look up applications at the moment.")]
    Unavailable,
}

/// The register: the gateway's Admin API.
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
    /// The register of the gateway whose Admin API is at `admin`.
    pub(super) fn registered_at(admin: Url, client: Client) -> Self {
        Self { admin, client }
    }

    /// Checks the client and its redirect URI; without one, its first registered is meant.
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
        // As one path segment: an id with a slash in it must not become another address.
        match url.path_segments_mut() {
            Ok(mut path) if !client_id.is_empty() && client_id != "." && client_id != ".." => {
                path.clear().extend(["oauth2", client_id]);
            }
            _ => return Ok(None),
        }
        let answer = self.client.get(url).send().await.map_err(|_| Refusal::Unavailable)?;
        match answer.status() {
            StatusCode::OK => {
                let credential: Credential = answer.json().await.map_err(|_| Refusal::Unavailable)?;
                // The register also finds credentials by their internal id; only `client_id` counts.
                Ok(Some(credential).filter(|credential| credential.client_id == client_id))
            }
            status if status.is_client_error() => Ok(None),
            _ => Err(Refusal::Unavailable),
        }
    }
}

impl Checked {
    /// Whether `answer` leads where the browser may go: the redirect URI, whatever its query and
    /// fragment.
    pub(super) fn may_be_answered_at(&self, answer: &Url) -> bool {
        let place = |uri: &Url| {
            (
                uri.scheme().to_owned(),
                uri.host_str().map(str::to_owned),
                uri.port_or_known_default(),
                uri.path().to_owned(),
            )
        };
        place(answer) == place(&self.redirect_uri)
    }

    /// Where the browser goes when the user refuses (RFC 6749 §4.1.2.1).
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
    fn an_answer_may_differ_from_the_redirect_uri_in_query_and_fragment_alone() {
        let application = checked("https://shop.example/cb?shop=1");
        let cases = [
            ("https://shop.example/cb?code=x&shop=1", true),
            ("https://shop.example:443/cb#access_token=x", true),
            ("https://shop.example/cb/?code=x", false),
            ("http://shop.example/cb?code=x", false),
            ("https://shop.example:444/cb?code=x", false),
            ("https://evil.example/cb?code=x", false),
        ];
        for (answer, expected) in cases {
            assert_eq!(application.may_be_answered_at(&Url::parse(answer).unwrap()), expected, "{answer}");
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
