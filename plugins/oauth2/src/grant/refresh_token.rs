//! Refreshing an access token (RFC 6749 §6).
//!
//! 1. The refresh token has not expired and belongs to this service.
//! 2. It belongs to this client (another client is refused without a challenge).
//!    What it is bound to is proved again ([`crate::sender`]).
//! 3. Its scope is still configured. The scope of the request is ignored, or it is that of the new access token: a part
//!    of what the refresh token has, which keeps all of it. The request may name some of the grant's resources
//!    (RFC 8707 §2.2).
//! 4. One statement rotates it: either a new row replaces the old one, or (`reuse_refresh_token`) the
//!    row gets a new access token. Of two concurrent requests one succeeds; the other finds the refresh token gone, or,
//!    if it stays, begins again with the row as it is now.
//!
//! With `refresh_grace`, a client that did not hear the response may repeat its request within that time: whoever
//! presents the same refresh token again gets the same pair of tokens, under the same checks, for as long as the
//! pair is as it was given out. The statement of step 4 stores the pair, sealed; nothing else decides.
//!
//! A later use of a refresh token that was replaced ends its family, if the instance says so ([`replay`]).

use tollgate_core::secret::Secret;
use uuid::Uuid;

use crate::binding::Binding;
use crate::client::AuthenticatedClient;
use crate::config::endpoints::Name;
use crate::entity::credential::ClientType;
use crate::error::{Error, Mode, Refusal};
use crate::grant::{Authorization, Grantor, Refresh, replay, whole_seconds};
use crate::issuer::Issued;
use crate::parameters::{Parameter, Parameters};
use crate::profile::{RefreshScope, Replay, ScopeInResponse};
use crate::resource;
use crate::scope;
use crate::sealed_pair::Pair;
use crate::sender::Same;
use crate::store::{Outcome, RecentRefresh, Refreshable, Remembered, Repeatable, Rotation, Token};
use crate::token::Digest;

/// How often a refresh begins again because others with the same refresh token were first: as many at once have no
/// reason to be.
const ATTEMPTS: usize = 32;

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
    let asked = parameters.get("scope");
    for _ in 0..ATTEMPTS {
        let Some(stored) = tokens.find_by_refresh_token(digest, grantor.now).await? else {
            return gone(grantor, client, presented).await;
        };
        allow(grantor, client, &stored.token, stored.granted_scope.as_deref())?;
        // A refresh token that is kept is still there after a refresh, so its last refresh comes first. It is looked
        // up after the row: the statement below refuses whoever has read the row before that refresh.
        let is_kept = is_kept(grantor, client, stored.token.binding.as_deref());
        if is_kept && let Some(issued) = repeated(grantor, client, presented).await? {
            return Ok(issued);
        }
        let binding = resource::narrowed(grantor.config, parameters, stored.token.binding.clone())?;
        let narrowed = Narrowed::read(grantor, &stored, asked)?;
        let stored = Token { binding, ..stored.token };
        let (rotation, row, mut issued) = rotation(grantor, client, stored, &narrowed, presented).await?;
        issued.scope = narrowed.named(grantor, asked);
        let repeatable = repeatable(grantor, &issued, presented, row)?;
        let credential_id = client.credential().id;
        match tokens.rotate_refresh_token(digest, credential_id, rotation, repeatable, grantor.now).await? {
            Outcome::Won(_) => return Ok(issued),
            // Somebody else was first.
            Outcome::Lost if is_kept => {}
            Outcome::Lost => return gone(grantor, client, presented).await,
        }
    }
    tracing::warn!(credential = %client.credential().id, attempts = ATTEMPTS, "too many requests at once renew one refresh token");
    Err(Error::CannotTell("refresh_token_keeps_changing"))
}

/// The refresh token is not there, or not any more.
async fn gone(grantor: &Grantor<'_>, client: &AuthenticatedClient, presented: &str) -> Result<Issued, Error> {
    if let Some(issued) = repeated(grantor, client, presented).await? {
        return Ok(issued);
    }
    replay::end_family(grantor, presented, client.credential().id).await?;
    Err(Refusal::InvalidRefreshToken(grantor.config.profile.unknown_grant).into())
}

/// Steps 1 to 3.
fn allow(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    stored: &Token,
    granted_scope: Option<&str>,
) -> Result<(), Refusal> {
    if !grantor.accepts(stored.service_id) {
        return Err(Refusal::InvalidRefreshToken(grantor.config.profile.unknown_grant));
    }
    if stored.credential_id != client.credential().id {
        return Err(Refusal::InvalidClient(Mode::Parameters));
    }
    let same = Same::of(client.credential().client_type);
    grantor.require_sender(stored.binding.as_deref(), same)?;
    scope::still_granted(client.credential(), grantor.config, granted_scope.or(stored.scope.as_deref()))
}

/// The scope of a new access token.
struct Narrowed {
    /// The scope.
    scope: Option<String>,
    /// What the refresh token has.
    granted: Option<String>,
}

impl Narrowed {
    fn read(grantor: &Grantor<'_>, stored: &Refreshable, asked: Option<&Parameter>) -> Result<Self, Refusal> {
        let granted = stored.granted_scope.as_ref().or(stored.token.scope.as_ref()).cloned();
        grantor.count("narrow_refresh_scope", |_| scope::narrowed(granted.as_deref(), asked));
        let scope = match grantor.config.profile.refresh_scope {
            RefreshScope::Ignored => granted.clone(),
            RefreshScope::Narrows => scope::narrowed(granted.as_deref(), asked)?,
        };
        Ok(Self { scope, granted })
    }

    /// The scope of the refresh token, if the access token is narrower.
    fn kept(&self) -> Option<String> {
        self.granted.clone().filter(|_| self.scope != self.granted)
    }

    /// The scope that the response names: one that differs from what was requested or granted.
    fn named(&self, grantor: &Grantor<'_>, asked: Option<&Parameter>) -> Option<String> {
        let is_as_requested = asked.is_none_or(|asked| asked.text() == self.scope.as_deref());
        if is_as_requested && self.scope == self.granted {
            return None;
        }
        match grantor.config.profile.scope_in_response {
            ScopeInResponse::Absent => None,
            ScopeInResponse::WhenDifferent => Some(self.scope.clone().unwrap_or_default()),
        }
    }
}

/// Whether the refresh token stays. That of a public client which is bound to nothing is replaced all the same where a
/// second use is noticed: it is the only sign that somebody else has it (RFC 9700 §2.2.2, §4.14.2).
fn is_kept(grantor: &Grantor<'_>, client: &AuthenticatedClient, bound: Option<&Binding>) -> bool {
    let is_bound = bound.is_some_and(|binding| binding.confirmation.is_some());
    let is_exposed = client.credential().client_type == ClientType::Public && !is_bound;
    let is_watched = grantor.config.profile.replay == Replay::Revoke;
    grantor.config.reuse_refresh_token && !(is_exposed && is_watched)
}

/// Step 4, decided but not written: also the row that gets the tokens.
async fn rotation(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    stored: Token,
    narrowed: &Narrowed,
    presented: &str,
) -> Result<(Rotation, Uuid, Issued), Error> {
    let authorization = Authorization {
        credential_id: stored.credential_id,
        authenticated_userid: stored.authenticated_userid,
        scope: narrowed.scope.clone(),
        binding: stored.binding,
    };
    let (id, family, granted_scope) = (stored.id, stored.family.or(Some(stored.id)), narrowed.kept());
    let mut draft = grantor.draft(client.credential(), authorization, Refresh::With, family).await?;
    if !is_kept(grantor, client, draft.row.binding.as_deref()) {
        let (row, successor) = (draft.row.id, draft.row);
        let remembered = remembered(grantor, stored.ttl);
        return Ok((Rotation::Replace { successor, granted_scope, remembered }, row, draft.issued));
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
        scope: draft.row.scope,
        granted_scope,
    };
    Ok((rotation, stored.id, draft.issued))
}

/// How long a second use of the refresh token is noticed: as long as the token would have lived. Within the time for
/// repetitions it is no attack. A client may also revoke what it has refreshed without hearing the response.
fn remembered(grantor: &Grantor<'_>, ttl: Option<i64>) -> Option<Remembered> {
    if grantor.config.profile.replay == Replay::Ignore && !grantor.config.endpoints.names.has(Name::Revoke) {
        return None;
    }
    let grace = grantor.config.refresh_grace.map(whole_seconds);
    let tolerated_until = grace.map_or(0, |grace| grantor.now.saturating_add(grace));
    Some(Remembered { tolerated_until, until: replay::until(ttl, grantor.now) })
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
    let Some(RecentRefresh { token, granted_scope, sealed }) = recent else { return Ok(None) };
    // It was refreshed again, or changed: by an operator, who may also have shortened the time.
    let age = grantor.now.saturating_sub(token.created_at);
    let Some(pair) = Pair::open(&sealed, presented, token.id).filter(|pair| is_of(pair, &token)) else {
        return Ok(None);
    };
    let expires_in = (token.expires_in > 0).then(|| token.expires_in.saturating_sub(age));
    if age > whole_seconds(grace) || expires_in.is_some_and(|left| left <= 0) {
        return Ok(None);
    }
    allow(grantor, client, &token, granted_scope.as_deref())?;
    let narrowed = Narrowed { scope: token.scope.clone(), granted: granted_scope.or(token.scope) };
    let named = narrowed.named(grantor, None);
    let Pair { access_token, refresh_token } = pair;
    let token_type = Binding::token_type(token.binding.as_deref());
    Ok(Some(Issued { id: token.id, access_token, token_type, expires_in, refresh_token, scope: named }))
}

/// Whether a row still has the tokens of the pair.
fn is_of(pair: &Pair, token: &Token) -> bool {
    let refresh_token = pair.refresh_token.as_ref().map(|refresh_token| Digest::of(refresh_token.expose()));
    token.access_token == Digest::of(pair.access_token.expose())
        && refresh_token.is_none_or(|refresh_token| token.refresh_token == Some(refresh_token))
}
