//! Where the API's own page, at which users type the code that a device shows, asks and decides (RFC 8628 §3.3). Its
//! back end calls it, as it calls the authorization endpoint, once a user is logged in.
//!
//! 1. HTTPS, and no parameter twice.
//! 2. The page authenticates with the provision key, and names the user.
//! 3. The user code waits for a decision. Without `action` the response says who asks for what; with `approve` or
//!    `deny` the decision is recorded.

use http::StatusCode;
use serde_json::{Map, Value, json};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use uuid::Uuid;

use crate::config::Config;
use crate::endpoint::client_call::ClientCall;
use crate::endpoint::response::{self, State};
use crate::endpoint::{AuthorizationServer, Endpoint, read};
use crate::error::{Error, Refusal};
use crate::grant::{Grantor, device_code, userid};
use crate::parameters::{Parameter, Parameters};
use crate::store::waiting::{Decision, DeviceCode};

pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (parameters, verdict) = read(config, request);
    let call = ClientCall { server, plugin_id, config, request, name: "device_decision" };
    let result = match verdict {
        Ok(()) => ask(server, &call.grantor(), &parameters).await,
        Err(refusal) => Err(refusal.into()),
    };
    call.record(None, &result);
    match result {
        Ok(body) => response::framed(StatusCode::OK, "device_decision", body),
        Err(error) => response::failed(Endpoint::Device, &error, &State::default()),
    }
}

/// Checks 2 and 3.
async fn ask(
    server: &AuthorizationServer,
    grantor: &Grantor<'_>,
    parameters: &Parameters,
) -> Result<Map<String, Value>, Error> {
    grantor.require_provision_key(parameters)?;
    let userid = userid(parameters)?;
    let decision = match parameters.get("action").map(Parameter::text) {
        None => None,
        Some(Some("approve")) => Some(("approved", Decision::Approved(userid))),
        Some(Some("deny")) => Some(("denied", Decision::Denied)),
        Some(_) => return Err(Refusal::UserDecision.into()),
    };
    let device = device_code::waiting(grantor, parameters).await?;
    let Some((status, decision)) = decision else { return about(server, grantor, &device).await };
    device_code::decide(grantor, device, decision, parameters).await?;
    Ok(Map::from_iter([("status".to_owned(), Value::from(status))]))
}

/// Who asks for what.
async fn about(
    server: &AuthorizationServer,
    grantor: &Grantor<'_>,
    device: &DeviceCode,
) -> Result<Map<String, Value>, Error> {
    let client = server.credentials.by_id(device.credential_id).await?.ok_or(Refusal::UserCode)?;
    let fields = [
        ("status", json!("pending")),
        ("client_id", json!(client.client_id)),
        ("client_name", json!(client.name)),
        ("scope", json!(device.scope)),
        ("expires_in", json!(device.expires_at.saturating_sub(grantor.now))),
    ];
    Ok(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
