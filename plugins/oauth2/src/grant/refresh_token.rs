//! Refreshing an access token (RFC 6749 §6).
//!
//! 1. The refresh token has not expired and belongs to this service.
//! 2. It belongs to this client (another client is refused without a challenge).
//! 3. Its scope is still configured; the scope of the request is ignored.
//! 4. One statement rotates it: either a new row replaces the old one, or (`reuse_refresh_token`) the
//!    row gets a new access token. Of two concurrent requests one succeeds.

use tollgate_core::secret::Secret;

use crate::client::AuthenticatedClient;
use crate::error::{Error, Mode, Refusal};
use crate::grant::{Authorization, Grantor, Refresh};
use crate::issuer::Issued;
use crate::parameters::Parameters;
use crate::scope;
use crate::store::{Outcome, Rotation, Token};
use crate::token::Digest;

/// All steps.
pub async fn exchange(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<Issued, Error> {
    let invalid = || Refusal::InvalidRefreshToken(grantor.config.profile.unknown_grant);
    let presented = parameters.text("refresh_token").ok_or_else(invalid)?;
    let digest = Digest::of(presented);
    let tokens = grantor.issuer.tokens.as_ref();
    let stored = tokens.find_by_refresh_token(digest, grantor.now).await?.ok_or_else(invalid)?;
    if !grantor.accepts(stored.service_id) {
        return Err(invalid().into());
    }
    let credential_id = client.credential().id;
    if stored.credential_id != credential_id {
        return Err(Refusal::InvalidClient(Mode::Parameters).into());
    }
    scope::still_granted(grantor.config, stored.scope.as_deref())?;
    let (rotation, issued) = rotation(grantor, stored, presented)?;
    match tokens.rotate_refresh_token(digest, credential_id, rotation, grantor.now).await? {
        Outcome::Won(_) => Ok(issued),
        Outcome::Lost => Err(invalid().into()),
    }
}

/// Step 4, decided but not written.
fn rotation(grantor: &Grantor<'_>, stored: Token, presented: &str) -> Result<(Rotation, Issued), Error> {
    let authorization = Authorization {
        credential_id: stored.credential_id,
        authenticated_userid: stored.authenticated_userid,
        scope: stored.scope,
    };
    let family = stored.family.or(Some(stored.id));
    let mut draft = grantor.draft(authorization, Refresh::With, family)?;
    if !grantor.config.reuse_refresh_token {
        return Ok((Rotation::Replace(draft.row), draft.issued));
    }
    draft.issued.refresh_token = draft.issued.refresh_token.map(|_| Secret::new(presented));
    let rotation = Rotation::Renew {
        replaces: stored.access_token,
        access_token: draft.row.access_token,
        token_hint: draft.row.token_hint,
        expires_in: draft.row.expires_in,
        created_at: draft.row.created_at,
        ttl: draft.row.ttl,
    };
    Ok((rotation, draft.issued))
}
