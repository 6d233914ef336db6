//! Pushed authorization requests (RFC 9126).
//!
//! 1. §2.1: the client authenticates and pushes the parameters of its authorization request, which the endpoint
//!    checks as it does those of any other.
//! 2. §2.2: it gets a request URI for them: [`push`].
//! 3. §4: the browser takes `client_id` and `request_uri` to the login page, whose back end authorizes with them:
//!    [`read`]. The request is used once, and by its client alone; before, the page may look at what it asks for.

use serde_json::Value;
use tollgate_core::secret::Secret;

use crate::binding::Confirmation;
use crate::client::AuthenticatedClient;
use crate::entity::credential::Credential;
use crate::error::{Error, Refusal};
use crate::grant::{Grantor, stored};
use crate::parameters::Parameters;
use crate::store::waiting::PushedRequest;
use crate::token::{Digest, Shape};

/// What every request URI of ours begins with (RFC 9126 §2.2); then follows a reference in the format of codes.
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// Where a pushed request has the thumbprint of its connection's certificate. No parameter has this name, so that a
/// client cannot say it.
const CERTIFICATE: &str = "x5t#S256";

/// What a client is told.
pub struct Pushed {
    /// Names the request.
    pub request_uri: Secret,
    /// Seconds in which it can be used.
    pub expires_in: i64,
}

/// Step 2.
pub async fn push(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<Pushed, Error> {
    let (reference, clear) = grantor.issuer.code();
    let expires_in = i64::from(grantor.config.grants.par_lifetime);
    let mut parameters = parameters.authorization_request();
    // The code will be bound to what is proved: a key as if it were announced (RFC 9449 §10.1).
    if let (Some(bound), Some(members)) = (&grantor.proved.bound, parameters.as_object_mut()) {
        match bound {
            Confirmation::Key(key) => members.insert("dpop_jkt".to_owned(), key.as_str().into()),
            Confirmation::Certificate(thumbprint) => members.insert(CERTIFICATE.to_owned(), thumbprint.as_str().into()),
        };
    }
    let request = PushedRequest {
        reference,
        credential_id: client.credential().id,
        plugin_id: grantor.plugin_id,
        parameters: parameters.to_string(),
        expires_at: grantor.now.saturating_add(expires_in),
    };
    stored(grantor.issuer.waiting.insert_pushed(request).await?)?;
    Ok(Pushed { request_uri: Secret::new(format!("{PREFIX}{}", clear.expose())), expires_in })
}

/// Whether a pushed request can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is used up, as a code will be issued for it.
    Once,
    /// It stays, as its user is still to be asked.
    Look,
}

/// What was pushed.
pub struct Found {
    /// The parameters of the authorization request.
    pub parameters: Parameters,
    /// The certificate with which it was pushed, which its code is bound to.
    pub certificate: Option<Confirmation>,
}

/// Step 3: the parameters that this client pushed, with those by which the login page says who it is and for whom it
/// speaks. Any other parameter of the request itself is ignored (RFC 9101 §6.3).
pub async fn read(
    grantor: &Grantor<'_>,
    client: Option<&Credential>,
    parameters: &Parameters,
    wanted: Use,
) -> Result<Found, Error> {
    let unknown = || Error::from(Refusal::RequestUri);
    let reference = parameters.text("request_uri").and_then(|uri| uri.strip_prefix(PREFIX)).ok_or_else(unknown)?;
    let client = client.ok_or_else(unknown)?;
    if grantor.issuer.own_tokens.is_ours(reference) != Shape::Genuine {
        return Err(unknown());
    }
    let (waiting, digest) = (&grantor.issuer.waiting, Digest::of(reference));
    let found = match wanted {
        Use::Once => waiting.take_pushed(digest, client.id, grantor.plugin_id, grantor.now).await?,
        Use::Look => waiting.find_pushed(digest, client.id, grantor.plugin_id, grantor.now).await?,
    };
    let pushed: Value = found.and_then(|text| serde_json::from_str(&text).ok()).ok_or_else(unknown)?;
    let certificate = pushed.get(CERTIFICATE).and_then(Value::as_str).map(str::to_owned);
    Ok(Found {
        parameters: parameters.with_authorization_request(&pushed),
        certificate: certificate.map(Confirmation::Certificate),
    })
}
