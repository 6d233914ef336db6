//! Authorization code grant (RFC 6749 §4.1) with PKCE (RFC 7636).
//!
//! 1. §4.1.2: a code is issued at the authorization endpoint: [`issue`].
//! 2. §4.1.3: the client exchanges it. The code must not have expired, and must belong to this service and this
//!    client; the verifier must match; a global code must belong to this plugin instance: [`exchange`].
//! 3. §4.1.4: one statement redeems the code and adds the token, so that a code is used once. An
//!    exchange that fails earlier does not use up the code.
//!
//! A second use ends what the first one gave, if the instance says so ([`replay`]).

use tollgate_core::secret::Secret;

use crate::client::AuthenticatedClient;
use crate::config::Config;
use crate::error::{Error, Refusal};
use crate::grant::{Authorization, Grantor, Refresh, replay, stored};
use crate::issuer::Issued;
use crate::parameters::Parameters;
use crate::pkce;
use crate::profile::{RedirectBinding, Replay};
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
    let presented = parameters.text("code").ok_or_else(invalid)?;
    let (digest, credential_id) = (Digest::of(presented), client.credential().id);
    let Some(code) = grantor.issuer.tokens.find_code(digest, grantor.now).await? else {
        replay::end_family(grantor, presented, credential_id).await?;
        return Err(invalid().into());
    };
    if !grantor.accepts(code.service_id) || code.credential_id != credential_id {
        return Err(invalid().into());
    }
    grantor.require_sender(code.binding.as_deref(), Same::Exactly)?;
    pkce::verify(grantor.config, client.credential(), &code, parameters.get("code_verifier"))?;
    grantor.count("pkce", |config| pkce::verify(config, client.credential(), &code, parameters.get("code_verifier")));
    let of_this_plugin = code.plugin_id.is_none_or(|plugin| plugin == grantor.plugin_id);
    if grantor.config.global_credentials && !of_this_plugin {
        return Err(invalid().into());
    }
    check_redirect_uri(grantor.config, &code, parameters)?;
    grantor.count("redirect_uri_binding", |config| check_redirect_uri(config, &code, parameters));
    let authorization = Authorization {
        credential_id,
        authenticated_userid: code.authenticated_userid,
        scope: code.scope,
        binding: resource::narrowed(grantor.config, parameters, code.binding)?,
    };
    let draft = grantor.draft(client.credential(), authorization, Refresh::With, Some(code.id)).await?;
    let remembered =
        (grantor.config.profile.replay == Replay::Revoke).then(|| replay::until(draft.row.ttl, grantor.now));
    match grantor.issuer.tokens.redeem_code(digest, credential_id, draft.row, remembered, grantor.now).await? {
        Outcome::Won(()) => Ok(draft.issued),
        Outcome::Lost => {
            replay::end_family(grantor, presented, credential_id).await?;
            Err(invalid().into())
        }
    }
}

/// Whether the client names the redirect URI of the authorization request, where it has to.
fn check_redirect_uri(config: &Config, code: &Code, parameters: &Parameters) -> Result<(), Refusal> {
    let is_other = code.redirect_uri.is_some() && code.redirect_uri.as_deref() != parameters.text("redirect_uri");
    if config.profile.redirect_binding == RedirectBinding::Bound && is_other {
        return Err(Refusal::InvalidCode(config.profile.unknown_grant));
    }
    Ok(())
}
