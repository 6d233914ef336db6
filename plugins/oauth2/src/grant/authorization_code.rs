//! Authorization code grant (RFC 6749 §4.1) with PKCE (RFC 7636).
//!
//! 1. §4.1.2: a code is issued at the authorization endpoint: [`issue`].
//! 2. §4.1.3: the client exchanges it. The code must not have expired, and must belong to this service and this
//!    client; the verifier must match; a global code must belong to this plugin instance: [`exchange`].
//! 3. §4.1.4: one statement redeems the code and adds the token, so that a code is used once. An
//!    exchange that fails earlier does not use up the code.

use tollgate_core::secret::Secret;

use crate::client::AuthenticatedClient;
use crate::error::{Error, Refusal};
use crate::grant::{Authorization, Grantor, Refresh, stored};
use crate::issuer::Issued;
use crate::parameters::Parameters;
use crate::pkce;
use crate::profile::RedirectBinding;
use crate::resource;
use crate::sender::Same;
use crate::store::{Code, Outcome};
use crate::token::Digest;

/// How long a code can be exchanged, in seconds (RFC 6749 §4.1.2 recommends at most ten minutes).
const LIFETIME: i64 = 300;

/// Step 1.
pub async fn issue(
    grantor: &Grantor<'_>,
    authorization: Authorization,
    challenge: Option<String>,
    redirect_uri: Option<String>,
) -> Result<Secret, Error> {
    let (digest, code) = grantor.issuer.code();
    let row = Code {
        id: grantor.issuer.random.uuid(),
        code: digest,
        credential_id: authorization.credential_id,
        service_id: grantor.service_id.filter(|_| !grantor.config.global_credentials),
        plugin_id: Some(grantor.plugin_id),
        authenticated_userid: authorization.authenticated_userid,
        scope: authorization.scope,
        challenge_method: challenge.is_some().then(|| pkce::S256.to_owned()),
        challenge,
        redirect_uri,
        created_at: grantor.now,
        ttl: grantor.now + LIFETIME,
        binding: grantor.bind(authorization.binding),
    };
    stored(grantor.issuer.tokens.insert_code(row).await?)?;
    Ok(code)
}

/// Steps 2 and 3.
pub async fn exchange(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<Issued, Error> {
    let invalid = || Refusal::InvalidCode(grantor.config.profile.unknown_grant);
    let digest = Digest::of(parameters.text("code").ok_or_else(invalid)?);
    let code = grantor.issuer.tokens.find_code(digest, grantor.now).await?.ok_or_else(invalid)?;
    if !grantor.accepts(code.service_id) || code.credential_id != client.credential().id {
        return Err(invalid().into());
    }
    grantor.require_sender(code.binding.as_deref(), Same::Exactly)?;
    pkce::verify(grantor.config, client.credential(), &code, parameters.get("code_verifier"))?;
    let of_this_plugin = code.plugin_id.is_none_or(|plugin| plugin == grantor.plugin_id);
    if grantor.config.global_credentials && !of_this_plugin {
        return Err(invalid().into());
    }
    if grantor.config.profile.redirect_binding == RedirectBinding::Bound
        && code.redirect_uri.is_some()
        && code.redirect_uri.as_deref() != parameters.text("redirect_uri")
    {
        return Err(invalid().into());
    }
    let credential_id = client.credential().id;
    let authorization = Authorization {
        credential_id,
        authenticated_userid: code.authenticated_userid,
        scope: code.scope,
        binding: resource::narrowed(grantor.config, parameters, code.binding)?,
    };
    let draft = grantor.draft(authorization, Refresh::With, Some(code.id))?;
    match grantor.issuer.tokens.redeem_code(digest, credential_id, draft.row, grantor.now).await? {
        Outcome::Won(()) => Ok(draft.issued),
        Outcome::Lost => Err(invalid().into()),
    }
}
