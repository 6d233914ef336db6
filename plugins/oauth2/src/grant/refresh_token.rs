//! Refreshing an access token (RFC 6749 §6).
//!
//! 1. The refresh token has not expired and belongs to this service.
//! 2. It belongs to this client (another client is refused without a challenge).
//!    What it is bound to is proved again ([`crate::sender`]).
//! 3. Its scope is still configured; the scope of the request is ignored. The request may name some of the grant's
//!    resources (RFC 8707 §2.2).
//! 4. One statement rotates it: either a new row replaces the old one, or (`reuse_refresh_token`) the
//!    row gets a new access token. Of two concurrent requests one succeeds.
//!
//! With `refresh_grace`, a client that did not hear the response may repeat its request within that time: whoever
//! presents the same refresh token again gets the same pair of tokens, under the same checks, for as long as the
//! pair is as it was given out. The statement of step 4 stores the pair, sealed; nothing else decides.

use tollgate_core::secret::Secret;
use uuid::Uuid;

use crate::binding::Binding;
use crate::client::AuthenticatedClient;
use crate::error::{Error, Mode, Refusal};
use crate::grant::{Authorization, Grantor, Refresh, whole_seconds};
use crate::issuer::Issued;
use crate::parameters::Parameters;
use crate::resource;
use crate::scope;
use crate::sealed_pair::Pair;
use crate::sender::Same;
use crate::store::{Outcome, RecentRefresh, Repeatable, Rotation, Token};
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
    if let Some(stored) = tokens.find_by_refresh_token(digest, grantor.now).await? {
        allow(grantor, client, &stored)?;
        // A refresh token that is kept is still there after a refresh, so its last refresh comes first. It is looked
        // up after the row: the statement below refuses whoever has read the row before that refresh.
        if grantor.config.reuse_refresh_token
            && let Some(issued) = repeated(grantor, client, presented).await?
        {
            return Ok(issued);
        }
        let binding = resource::narrowed(grantor.config, parameters, stored.binding.clone())?;
        let stored = Token { binding, ..stored };
        let (rotation, row, issued) = rotation(grantor, stored, presented)?;
        let repeatable = repeatable(grantor, &issued, presented, row)?;
        let credential_id = client.credential().id;
        match tokens.rotate_refresh_token(digest, credential_id, rotation, repeatable, grantor.now).await? {
            Outcome::Won(_) => return Ok(issued),
            Outcome::Lost => {}
        }
    }
    repeated(grantor, client, presented).await?.ok_or_else(|| invalid().into())
}

/// Steps 1 to 3.
fn allow(grantor: &Grantor<'_>, client: &AuthenticatedClient, stored: &Token) -> Result<(), Refusal> {
    if !grantor.accepts(stored.service_id) {
        return Err(Refusal::InvalidRefreshToken(grantor.config.profile.unknown_grant));
    }
    if stored.credential_id != client.credential().id {
        return Err(Refusal::InvalidClient(Mode::Parameters));
    }
    let same = Same::of(client.credential().client_type);
    grantor.require_sender(stored.binding.as_deref(), same)?;
    scope::still_granted(grantor.config, stored.scope.as_deref())
}

/// Step 4, decided but not written: also the row that gets the tokens.
fn rotation(grantor: &Grantor<'_>, stored: Token, presented: &str) -> Result<(Rotation, Uuid, Issued), Error> {
    let authorization = Authorization {
        credential_id: stored.credential_id,
        authenticated_userid: stored.authenticated_userid,
        scope: stored.scope,
        binding: stored.binding,
    };
    let (id, family) = (stored.id, stored.family.or(Some(stored.id)));
    let mut draft = grantor.draft(authorization, Refresh::With, family)?;
    if !grantor.config.reuse_refresh_token {
        let row = draft.row.id;
        return Ok((Rotation::Replace(draft.row), row, draft.issued));
    }
    draft.issued.id = id;
    draft.issued.refresh_token = draft.issued.refresh_token.map(|_| Secret::new(presented));
    let rotation = Rotation::Renew {
        replaces: stored.access_token,
        access_token: draft.row.access_token,
        token_hint: draft.row.token_hint,
        expires_in: draft.row.expires_in,
        created_at: draft.row.created_at,
        ttl: draft.row.ttl,
        binding: draft.row.binding,
    };
    Ok((rotation, stored.id, draft.issued))
}

/// What a repetition of this refresh gets, if the configuration has one.
fn repeatable(grantor: &Grantor<'_>, issued: &Issued, presented: &str, row: Uuid) -> Result<Option<Repeatable>, Error> {
    let Some(grace) = grantor.config.refresh_grace else { return Ok(None) };
    let pair = Pair { access_token: issued.access_token.clone(), refresh_token: issued.refresh_token.clone() };
    let sealed = pair.seal(presented, row, grantor.issuer.random.as_ref())?;
    Ok(Some(Repeatable { sealed, until: grantor.now.saturating_add(whole_seconds(grace)) }))
}

/// The tokens of the last refresh with this refresh token, if it may be repeated now and they are unchanged.
async fn repeated(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    presented: &str,
) -> Result<Option<Issued>, Error> {
    let Some(grace) = grantor.config.refresh_grace else { return Ok(None) };
    let recent = grantor.issuer.tokens.find_recent_refresh(Digest::of(presented), grantor.now).await?;
    let Some(RecentRefresh { token, sealed }) = recent else { return Ok(None) };
    // It was refreshed again, or changed: by an operator, who may also have shortened the time.
    let age = grantor.now.saturating_sub(token.created_at);
    let Some(pair) = Pair::open(&sealed, presented, token.id).filter(|pair| is_of(pair, &token)) else {
        return Ok(None);
    };
    let expires_in = (token.expires_in > 0).then(|| token.expires_in.saturating_sub(age));
    if age > whole_seconds(grace) || expires_in.is_some_and(|left| left <= 0) {
        return Ok(None);
    }
    allow(grantor, client, &token)?;
    let Pair { access_token, refresh_token } = pair;
    let token_type = Binding::token_type(token.binding.as_deref());
    Ok(Some(Issued { id: token.id, access_token, token_type, expires_in, refresh_token, scope: None }))
}

/// Whether a row still has the tokens of the pair.
fn is_of(pair: &Pair, token: &Token) -> bool {
    let refresh_token = pair.refresh_token.as_ref().map(|refresh_token| Digest::of(refresh_token.expose()));
    token.access_token == Digest::of(pair.access_token.expose())
        && refresh_token.is_none_or(|refresh_token| token.refresh_token == Some(refresh_token))
}
