//! The store's side of OAuth2 (RFC 6749 §4.1, RFC 7636): from the link to the refreshed token, or the revoked one
//! (RFC 7009).

use openssl::base64::encode_block;
use openssl::sha::sha256;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::browser_session::{same_secret, unguessable};
use crate::step_on::StepCounts;

use super::AuthorizationServer;
use super::flow::{self, Flow, shortened};

/// The only scope that the store needs and requests.
const SCOPE: &str = "step_counts";

/// A pending authorization request: the expected state, and the PKCE verifier.
#[derive(Clone)]
pub(super) struct Pending {
    state: String,
    verifier: String,
}

/// The tokens of a connected store.
#[derive(Clone, Deserialize)]
pub(super) struct Tokens {
    access_token: String,
    refresh_token: Option<String>,
}

/// Why there are no step counts.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The token endpoint refused, with its error code.
    #[error("refused: {0}")]
    Refused(String),
    /// The access token is no longer valid.
    #[error("the connection has ended")]
    Ended,
    /// There was no usable response.
    #[error("no response")]
    Unavailable,
}

/// Step On, as the store sees it.
pub(super) struct StepOnApi {
    pub(super) client: Client,
    pub(super) authorization_server: AuthorizationServer,
    pub(super) step_counts: Url,
    pub(super) redirect_uri: Url,
}

impl Pending {
    /// A new request: an unguessable `state`, and a PKCE verifier of 64 characters.
    pub(super) fn new() -> Self {
        Self { state: unguessable(), verifier: unguessable() + &unguessable() }
    }

    /// Whether a response belongs to this request (RFC 6749 §10.12).
    pub(super) fn asked(&self, state: &str) -> bool {
        same_secret(&self.state, state)
    }

    /// S256 (RFC 7636 §4.2), base64url without padding.
    fn challenge(&self) -> String {
        let encoded = encode_block(&sha256(self.verifier.as_bytes()));
        encoded.trim_end_matches('=').replace('+', "-").replace('/', "_")
    }
}

impl Tokens {
    /// Whether there is a refresh token.
    pub(super) fn can_be_refreshed(&self) -> bool {
        self.refresh_token.is_some()
    }
}

impl StepOnApi {
    /// Step A: where the browser is sent to ask the user.
    pub(super) fn authorization_url(&self, pending: &Pending) -> Url {
        let mut url = self.authorization_server.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.authorization_server.client_id)
            .append_pair("redirect_uri", self.redirect_uri.as_str())
            .append_pair("scope", SCOPE)
            .append_pair("state", &pending.state)
            .append_pair("code_challenge", &pending.challenge())
            .append_pair("code_challenge_method", "S256");
        url
    }

    /// Steps D and E: redeems the code for tokens.
    pub(super) async fn redeem(&self, pending: &Pending, code: &str, flow: &mut Flow) -> Result<Tokens, Error> {
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", &pending.verifier),
        ];
        self.tokens("The store redeems the code (steps D and E)", &grant, flow).await
    }

    /// New tokens for the refresh token (RFC 6749 §6).
    pub(super) async fn refresh(&self, tokens: &Tokens, flow: &mut Flow) -> Result<Tokens, Error> {
        let refresh_token = tokens.refresh_token.as_deref().ok_or(Error::Ended)?;
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let mut fresh = self.tokens("The store refreshes its tokens (§6)", &grant, flow).await?;
        fresh.refresh_token = fresh.refresh_token.or_else(|| tokens.refresh_token.clone());
        Ok(fresh)
    }

    async fn tokens(&self, title: &'static str, grant: &[(&str, &str)], flow: &mut Flow) -> Result<Tokens, Error> {
        #[derive(Deserialize)]
        struct Refused {
            error: String,
        }
        let (request, shown) = self.authenticated(&self.authorization_server.token, grant);
        let (status, body) = exchange(request, title, shown, flow).await?;
        if status.is_success() {
            return serde_json::from_str(&body).map_err(|_| Error::Unavailable);
        }
        let refused: Refused = serde_json::from_str(&body).map_err(|_| Error::Unavailable)?;
        Err(Error::Refused(refused.error))
    }

    /// Has the access token revoked (RFC 7009 §2.1). The store keeps it.
    pub(super) async fn revoke(&self, tokens: &Tokens, flow: &mut Flow) -> Result<(), Error> {
        let revocation = self.authorization_server.revocation.as_ref().ok_or(Error::Unavailable)?;
        let form = [("token", tokens.access_token.as_str()), ("token_type_hint", "access_token")];
        let (request, shown) = self.authenticated(&revocation.endpoint, &form);
        let (status, _) = exchange(request, "The store has its access token revoked (RFC 7009)", shown, flow).await?;
        if status.is_success() { Ok(()) } else { Err(Error::Unavailable) }
    }

    /// A form for the authorization server, with the client's authentication; and how it is shown.
    fn authenticated(&self, endpoint: &Url, form: &[(&str, &str)]) -> (RequestBuilder, String) {
        let AuthorizationServer { client_id, client_secret, .. } = &self.authorization_server;
        let request = self.client.post(endpoint.clone()).basic_auth(client_id, Some(client_secret)).form(form);
        let secret = shortened(client_secret);
        let fields = flow::form(form);
        (request, format!("POST {endpoint}\nAuthorization: Basic {client_id}:{secret} (in base64)\n{fields}"))
    }

    /// The user's steps.
    pub(super) async fn step_counts(&self, tokens: &Tokens, flow: &mut Flow) -> Result<StepCounts, Error> {
        let request = self.client.get(self.step_counts.clone()).bearer_auth(&tokens.access_token);
        let shown = format!("GET {}\nAuthorization: Bearer {}", self.step_counts, shortened(&tokens.access_token));
        let (status, body) = exchange(request, "The store reads the step counts", shown, flow).await?;
        match status {
            StatusCode::OK => serde_json::from_str(&body).map_err(|_| Error::Unavailable),
            StatusCode::UNAUTHORIZED => Err(Error::Ended),
            _ => Err(Error::Unavailable),
        }
    }
}

/// Sends a request and records the exchange.
async fn exchange(
    request: RequestBuilder,
    title: &'static str,
    shown: String,
    flow: &mut Flow,
) -> Result<(StatusCode, String), Error> {
    let read = async {
        let response = request.send().await?;
        Ok::<_, reqwest::Error>((response.status(), response.text().await?))
    };
    match read.await {
        Ok((status, body)) => {
            flow.add(title, shown, flow::response(status, &body));
            Ok((status, body))
        }
        Err(_) => {
            flow.add(title, shown, "no response".to_owned());
            Err(Error::Unavailable)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_the_hashed_verifier_rfc7636_appendix_b() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let pending = Pending { state: String::new(), verifier };
        assert_eq!(pending.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_response_belongs_to_the_request_with_its_state() {
        let pending = Pending::new();
        assert!(pending.asked(&pending.state.clone()));
        assert!(!pending.asked("") && !pending.asked(&Pending::new().state));
        assert_eq!(pending.verifier.len(), 64);
    }
}
