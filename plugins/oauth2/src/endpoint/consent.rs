//! What a login page tells its user before it asks for consent (RFC 6749 §3.3, §4.1.1): the client's name, and the
//! scopes that it would get with their descriptions (`scope_descriptions`).
//!
//! The login page's back end asks with the provision key, with the parameters that it will send to the authorization
//! endpoint. The client, its redirect URI and the scopes are checked as there, in that order, so that what is shown is what
//! would be granted; what concerns the code alone (`response_type`, PKCE, `resource`) is not. Nothing is issued.

use serde_json::{Value, json};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use uuid::Uuid;

use crate::client;
use crate::config::Config;
use crate::endpoint::record::Subject;
use crate::endpoint::response;
use crate::endpoint::{AuthorizationServer, Endpoint, authorize, begin};
use crate::entity::credential::Credential;
use crate::error::Error;
use crate::grant::Grantor;
use crate::grant::pushed_request::Use;
use crate::parameters::Parameters;
use crate::scope;

/// The grant in the audit log.
const GRANT: &str = "consent";

pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (parameters, state, verdict) = begin(config, request);
    let grantor = Grantor::new(&server.issuer, &server.guesses, plugin_id, config, request);
    let checked = verdict.and_then(|()| grantor.require_provision_key(&parameters));
    let described = match checked {
        Ok(()) => describe(server, request, &grantor, &parameters).await,
        Err(refusal) => Err(refusal.into()),
    };
    match described {
        Ok(consent) => response::described(consent, &state),
        Err(error) => {
            let subject = Subject { plugin: plugin_id, credential: None, grant: GRANT, request };
            subject.refused(&error).iter().for_each(|event| server.audit_log.write(event));
            response::failed(Endpoint::Consent, &error, &state)
        }
    }
}

async fn describe(
    server: &AuthorizationServer,
    request: &Request<'_>,
    grantor: &Grantor<'_>,
    parameters: &Parameters,
) -> Result<Value, Error> {
    let config = grantor.config;
    // What was pushed stays, as it is to be authorized next.
    let pushed = authorize::pushed(server, grantor, parameters, Use::Look).await?;
    let parameters = pushed.as_ref().map_or(parameters, |pushed| &pushed.parameters);
    let client = match parameters.text("client_id") {
        Some(client_id) => client::find(server.credentials.as_ref(), client_id).await?,
        None => None,
    };
    server.note_caller(client.as_deref(), request).await;
    let (client, redirect_uri) = authorize::described_target(config, client, parameters)?;
    let scope = scope::granted_to(&client, config, parameters.get("scope"))?;
    Ok(consent(config, &client, &redirect_uri, scope.as_deref()))
}

fn consent(config: &Config, client: &Credential, redirect_uri: &str, scope: Option<&str>) -> Value {
    let descriptions = config.scope_descriptions.as_ref();
    let describe = |name: &str| {
        let description = descriptions.and_then(|descriptions| descriptions.get(name));
        json!({"name": name, "description": description})
    };
    let scopes: Vec<Value> =
        scope.unwrap_or_default().split(' ').filter(|name| !name.is_empty()).map(describe).collect();
    json!({
        "client_id": client.client_id,
        "client_name": client.name,
        "redirect_uri": redirect_uri,
        "scopes": scopes,
    })
}
