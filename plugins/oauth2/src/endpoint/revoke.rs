//! Token revocation (RFC 7009).
//!
//! 1. §2.1: the client authenticates as at the token endpoint.
//! 2. §2.1: its token is found, as an access token or as a refresh token; `token_type_hint` says what to look for
//!    first. A token that does not exist, or is another client's, is no error (§2.2): nothing is revoked.
//! 3. §2.1: the token ends, and with it all that descend from the same code or refresh token: the client gives up the
//!    grant.
//!
//! As after every write, no node accepts the tokens once the response is sent: this one at once, others as soon as they
//! hear of it.

use http::StatusCode;
use tollgate_core::error::StoreError;
use tollgate_core::reply::{Body, Reply};
use tollgate_core::request::Request;
use tollgate_plugin::audit::Action;
use uuid::Uuid;

use super::record::Subject;
use super::response::{self, State};
use super::{AuthorizationServer, Endpoint};
use crate::callers::note_token;
use crate::client::AuthenticatedClient;
use crate::config::Config;
use crate::error::{Error, Refusal};
use crate::parameters::Parameters;
use crate::store::{Cause, Token};
use crate::token::{Digest, Shape};

pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (parameters, verdict) = super::read(config, request);
    let (credential, result) = match verdict {
        Ok(()) => revoke(server, config, request, &parameters).await,
        Err(refusal) => (None, Err(refusal.into())),
    };
    let subject = Subject { plugin: plugin_id, credential, grant: "revocation", request };
    let event = match &result {
        Ok(revoked) => revoked.map(|id| subject.issued(Action::TokenRevoked, Some(id))),
        Err(error) => subject.refused(error),
    };
    event.iter().for_each(|event| server.audit_log.write(event));
    if result.is_ok() {
        server.note_call(plugin_id, config, (&parameters, request), credential);
    }
    match result {
        Ok(_) => response::uncached(Reply {
            status: StatusCode::OK,
            headers: Vec::new(),
            body: Body::Empty,
            reason: "token_revoked",
        }),
        Err(error) => response::failed(Endpoint::Revoke, &error, &State::default()),
    }
}

/// The credential that the request named, if there is one, and the token that was revoked, if there was one.
async fn revoke(
    server: &AuthorizationServer,
    config: &Config,
    request: &Request<'_>,
    parameters: &Parameters,
) -> (Option<Uuid>, Result<Option<Uuid>, Error>) {
    match super::authenticated(server, config, request, parameters).await {
        (credential, Err(error)) => (credential, Err(error)),
        (credential, Ok(client)) => {
            parameters.text("token").into_iter().for_each(|token| note_token(token, request));
            (credential, end(server, &client, parameters).await)
        }
    }
}

/// Steps 2 and 3.
async fn end(
    server: &AuthorizationServer,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<Option<Uuid>, Error> {
    let token = parameters.text("token").filter(|token| !token.is_empty()).ok_or(Refusal::Missing("token"))?;
    let hint = parameters.text("token_type_hint");
    let tokens = &server.issuer.tokens;
    let credential = client.credential().id;
    let now = server.issuer.clock.now();
    if let Some(found) = find(server, token, hint).await?.filter(|token| token.credential_id == credential) {
        tokens.end_family(found.family.unwrap_or(found.id), credential, now).await?;
        return Ok(Some(found.id));
    }
    // It may have been refreshed, by a request whose response the client has not heard.
    if server.issuer.own_tokens.is_ours(token) == Shape::Genuine {
        let ended = tokens.end_replayed(Digest::of(token), credential, Cause::Revocation, now).await?;
        if let Some(id) = ended.first() {
            return Ok(Some(*id));
        }
    }
    // Or revoked elsewhere a moment ago.
    tokens.catch_up().await?;
    Ok(None)
}

/// The token, whatever it is.
async fn find(server: &AuthorizationServer, token: &str, hint: Option<&str>) -> Result<Option<Token>, StoreError> {
    let (digest, now, tokens) = (Digest::of(token), server.issuer.clock.now(), &server.issuer.tokens);
    let access = async || Ok::<_, StoreError>(tokens.find_tokens(&[digest], now).await?.into_iter().next());
    let refresh =
        async || Ok::<_, StoreError>(tokens.find_by_refresh_token(digest, now).await?.map(|found| found.token));
    if hint == Some("refresh_token") {
        return match refresh().await? {
            Some(token) => Ok(Some(token)),
            None => access().await,
        };
    }
    match access().await? {
        Some(token) => Ok(Some(token)),
        None => refresh().await,
    }
}
