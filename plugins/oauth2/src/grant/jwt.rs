//! Signed access tokens (RFC 9068). The row that every token has is theirs too: what a token permits here, and that it
//! is revoked, is decided by the row; the claims are for resource servers that do not ask.

use serde_json::{Map, Value, json};
use tollgate_core::secret::Secret;
use uuid::Uuid;

use crate::entity::credential::Credential;
use crate::error::Error;
use crate::grant::{Authorization, Grantor, whole_seconds};

/// A token with the claims of §2.2. Without a lifetime, which a configuration cannot have, it has expired.
pub(super) async fn access_token(
    grantor: &Grantor<'_>,
    client: &Credential,
    authorization: &Authorization,
    id: Uuid,
) -> Result<Secret, Error> {
    let expiry = grantor.now.saturating_add(grantor.config.token_expiration.map_or(0, whole_seconds));
    let claims = claims(grantor, client, authorization, id, expiry)?;
    let signing = grantor.issuer.signing_keys.signing(expiry).await?;
    signing.key.token(&Value::Object(claims)).map_err(Error::Signing)
}

fn claims(
    grantor: &Grantor<'_>,
    client: &Credential,
    authorization: &Authorization,
    id: Uuid,
    expiry: i64,
) -> Result<Map<String, Value>, Error> {
    let issuer = grantor.issuer_identifier.as_deref().ok_or(Error::NoIssuer)?;
    let binding = authorization.binding.as_deref();
    let bound = binding.map(|binding| binding.audience.as_slice()).filter(|audience| !audience.is_empty());
    let mut claims = Map::new();
    let mut add = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    add("iss", issuer.into());
    add("aud", audience(bound.unwrap_or(&grantor.config.endpoints.resources), issuer));
    // §2.2: the client itself, where no user is involved.
    add("sub", authorization.authenticated_userid.as_deref().unwrap_or(&client.client_id).into());
    add("client_id", client.client_id.as_str().into());
    add("iat", grantor.now.into());
    add("exp", expiry.into());
    add("jti", id.to_string().into());
    if let Some(scope) = &authorization.scope {
        add("scope", scope.as_str().into());
    }
    if let Some(confirmation) = binding.and_then(|binding| binding.confirmation.as_ref()) {
        add("cnf", json!(confirmation));
    }
    Ok(claims)
}

/// The resources that a token is for; by default the issuer itself, whose services these are (§3).
fn audience(resources: &[String], issuer: &str) -> Value {
    match resources {
        [] => issuer.into(),
        [one] => one.as_str().into(),
        several => several.into(),
    }
}
