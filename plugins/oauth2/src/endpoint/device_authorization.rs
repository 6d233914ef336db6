//! The device authorization endpoint (RFC 8628 §3.1): a client without a browser begins.

use http::StatusCode;
use serde_json::{Map, Value};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use url::Url;
use uuid::Uuid;

use crate::client::AuthenticatedClient;
use crate::config::Config;
use crate::endpoint::client_call::ClientCall;
use crate::endpoint::response::{self, State};
use crate::endpoint::{AuthorizationServer, Endpoint, read};
use crate::error::Error;
use crate::grant::device_code::{self, Begun};
use crate::parameters::Parameters;

pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (parameters, verdict) = read(config, request);
    let call = ClientCall { server, plugin_id, config, request, name: "device_authorization" };
    let (credential, result) = match verdict {
        Ok(()) => {
            let (credential, client) = call.authenticate(&parameters).await;
            let result = match client {
                Ok(client) => begin(&call, &client, &parameters).await,
                Err(error) => Err(error),
            };
            (credential, result)
        }
        Err(refusal) => (None, Err(refusal.into())),
    };
    call.record(credential, &result);
    let reply = match result {
        Ok(begun) => accepted(config, &begun),
        Err(error) => response::failed(Endpoint::DeviceAuthorization, &error, &State::default()),
    };
    server.with_nonce(config, reply)
}

/// A device may prove its key already now: the device code is then bound to it.
async fn begin(call: &ClientCall<'_>, client: &AuthenticatedClient, parameters: &Parameters) -> Result<Begun, Error> {
    let grantor = call.proving(parameters).await?;
    let begun = device_code::begin(&grantor, client, parameters).await?;
    call.note(&grantor, client, parameters);
    Ok(begun)
}

/// RFC 8628 §3.2.
fn accepted(config: &Config, begun: &Begun) -> Reply {
    let mut body = Map::new();
    let mut add = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    let user_code = begun.user_code.to_string();
    add("device_code", begun.device_code.expose().into());
    if let Some(page) = &config.grants.device_verification_uri {
        add("verification_uri", page.as_str().into());
        if let Ok(mut complete) = Url::parse(page) {
            complete.query_pairs_mut().append_pair("user_code", &user_code);
            add("verification_uri_complete", complete.as_str().into());
        }
    }
    add("user_code", user_code.into());
    add("expires_in", begun.expires_in.into());
    add("interval", begun.interval.into());
    response::framed(StatusCode::OK, "device_begun", body)
}
