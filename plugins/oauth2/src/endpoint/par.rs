//! The endpoint for pushed authorization requests (RFC 9126 §2).
//!
//! 1. HTTPS, and no parameter twice.
//! 2. The client authenticates as at the token endpoint.
//! 3. The request names no other request, and is one that the authorization endpoint would accept.
//! 4. A proof of the client's key announces the key (RFC 9449 §10.1).

use http::StatusCode;
use serde_json::{Map, Value};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use uuid::Uuid;

use crate::client::AuthenticatedClient;
use crate::config::Config;
use crate::endpoint::client_call::ClientCall;
use crate::endpoint::response::{self, State};
use crate::endpoint::{AuthorizationServer, Endpoint, authorize, begin};
use crate::error::{Error, Refusal};
use crate::grant::pushed_request::{self, Pushed};
use crate::parameters::Parameters;

pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (parameters, _, verdict) = begin(config, request);
    let call = ClientCall { server, plugin_id, config, request, name: "pushed_request" };
    let (credential, result) = match verdict {
        Ok(()) => {
            let (credential, client) = call.authenticate(&parameters).await;
            let result = match client {
                Ok(client) => push(&call, &client, &parameters).await,
                Err(error) => Err(error),
            };
            (credential, result)
        }
        Err(refusal) => (None, Err(refusal.into())),
    };
    call.record(credential, &result);
    let reply = match result {
        Ok(pushed) => created(&pushed),
        Err(error) => response::failed(Endpoint::PushedAuthorization, &error, &State::default()),
    };
    server.with_nonce(config, reply)
}

/// Checks 3 and 4.
async fn push(call: &ClientCall<'_>, client: &AuthenticatedClient, parameters: &Parameters) -> Result<Pushed, Error> {
    if parameters.get("request_uri").is_some() {
        return Err(Refusal::PushedRequestUri.into());
    }
    authorize::acceptable(call.config, client.credential(), parameters)?;
    let grantor = call.proving(parameters).await?;
    let pushed = pushed_request::push(&grantor, client, parameters).await?;
    call.note(&grantor, client, parameters);
    Ok(pushed)
}

fn created(pushed: &Pushed) -> Reply {
    let body = Map::from_iter([
        ("request_uri".to_owned(), Value::from(pushed.request_uri.expose())),
        ("expires_in".to_owned(), Value::from(pushed.expires_in)),
    ]);
    response::framed(StatusCode::CREATED, "request_pushed", body)
}
