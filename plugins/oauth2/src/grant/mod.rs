//! The grants (RFC 6749 §4, §6), one per file, and what they share: whom a token is for, what it is bound
//! to and how long it lives (oauth2.md §3.9).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tollgate_core::header_text;
use tollgate_core::request::Request;
use uuid::Uuid;

use crate::binding::Binding;
use crate::config::Config;
use crate::config::grants::TokenFormat;
use crate::entity::credential::Credential;
use crate::error::{Error, Mode, Refusal};
use crate::guesses::{Attempt, Guesses, Kind};
use crate::issuer::{Issued, Issuer};
use crate::issuer_identifier;
use crate::parameters::{Parameter, Parameters};
use crate::profile::ScopeInResponse;
use crate::sender::{self, Proved, Same};
use crate::store::{Outcome, Token};
use crate::token::{Digest, hint};

pub mod authorization_code;
pub mod client_credentials;
pub mod device_code;
pub mod implicit;
mod jwt;
pub mod password;
pub mod pushed_request;
pub mod refresh_token;
pub mod replay;

/// A wrong key is a guess; none is not.
fn require_provision_key(config: &Config, attempt: Attempt<'_>, parameters: &Parameters) -> Result<(), Refusal> {
    let Some(key) = parameters.text("provision_key") else { return Err(Refusal::ProvisionKey) };
    attempt.allowed()?;
    if config.provision_key.matches(key) {
        attempt.succeeded();
        return Ok(());
    }
    attempt.failed()?;
    Err(Refusal::ProvisionKey)
}

/// The logged-in user, as named by the caller. It is sent in a header of every request that the token
/// authorizes, so a value that no header can carry is refused here, not by the guard.
pub fn userid(parameters: &Parameters) -> Result<String, Refusal> {
    let userid = parameters.text("authenticated_userid").filter(|userid| !userid.trim().is_empty());
    let userid = userid.ok_or(Refusal::MissingUserid)?;
    if header_text::is_too_long(userid) {
        return Err(Refusal::TooLong("authenticated_userid"));
    }
    if userid.contains(char::is_control) {
        return Err(Refusal::UnprintableUserid);
    }
    if userid.trim() != userid {
        return Err(Refusal::PaddedUserid);
    }
    Ok(userid.to_owned())
}

/// What the resource owner, or the client on its own behalf, agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The credential of the client.
    pub credential_id: Uuid,
    /// The resource owner; `None` is the client itself.
    pub authenticated_userid: Option<String>,
    /// The granted scope.
    pub scope: Option<String>,
    /// What its tokens are bound to beyond client and service.
    pub binding: Option<Arc<Binding>>,
}

/// Whether a token comes with a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// It does, unless the access token never expires.
    With,
    /// It does not; its row is removed when it expires.
    Without,
}

/// Makes the tokens of one request.
pub struct Grantor<'a> {
    /// Makes and stores tokens.
    pub issuer: &'a Issuer,
    /// Limits wrong provision keys.
    pub guesses: &'a Guesses,
    /// The plugin instance.
    pub plugin_id: Uuid,
    /// Its configuration.
    pub config: &'a Config,
    /// The service of the matched route.
    pub service_id: Option<Uuid>,
    /// The issuer of a signed token; `None` also where tokens are not signed.
    pub issuer_identifier: Option<String>,
    /// The key or certificate that the request has proved, which its tokens are bound to.
    pub proved: Proved,
    /// The client's address.
    pub address: IpAddr,
    /// The time of the request, in Unix seconds.
    pub now: i64,
    /// The rows of tokens that this request has ended.
    pub ended: Mutex<Vec<Uuid>>,
    /// What profile `bcp` would have refused (`log_only`): the fields that decide.
    pub deviations: Mutex<Vec<&'static str>>,
}

/// A token to be stored, with its clear values.
pub struct Draft {
    /// The row.
    pub row: Token,
    /// The token response.
    pub issued: Issued,
}

impl<'a> Grantor<'a> {
    /// For this request to the plugin instance.
    pub fn new(
        issuer: &'a Issuer,
        guesses: &'a Guesses,
        plugin_id: Uuid,
        config: &'a Config,
        request: &Request<'_>,
    ) -> Self {
        let (service_id, address) = (request.target.service_id, request.client);
        let signed = config.grants.token_format == Some(TokenFormat::Jwt);
        let issuer_identifier = if signed { issuer_identifier::of(&config.endpoints, request) } else { None };
        Self {
            issuer,
            guesses,
            plugin_id,
            config,
            service_id,
            issuer_identifier,
            proved: Proved::default(),
            address,
            now: issuer.clock.now(),
            ended: Mutex::default(),
            deviations: Mutex::default(),
        }
    }

    /// Counts a deviation if `rule` refuses with what `bcp` says (`log_only`). `behaviour`: the field that decides.
    pub fn count<T>(&self, behaviour: &'static str, rule: impl FnOnce(&Config) -> Result<T, Refusal>) {
        if self.config.counted.as_deref().is_some_and(|counted| rule(counted).is_err()) {
            self.deviations.lock().unwrap_or_else(PoisonError::into_inner).push(behaviour);
        }
    }

    /// Refuses a caller without the instance's provision key.
    pub fn require_provision_key(&self, parameters: &Parameters) -> Result<(), Refusal> {
        let name = self.plugin_id.to_string();
        let attempt = self.guesses.attempt(Kind::ProvisionKey, &name, self.address);
        require_provision_key(self.config, attempt, parameters)
    }

    /// Whether a code or token bound to this service may be used here. A global instance accepts any.
    pub fn accepts(&self, bound_to: Option<Uuid>) -> bool {
        self.config.global_credentials || bound_to == self.service_id
    }

    /// A new token for this client, not stored yet. `family`: the code or token it descends from.
    pub async fn draft(
        &self,
        client: &Credential,
        mut authorization: Authorization,
        refresh: Refresh,
        family: Option<Uuid>,
    ) -> Result<Draft, Error> {
        let (id, lifetime) = (self.issuer.random.uuid(), self.config.token_expiration);
        authorization.binding = self.bind(authorization.binding);
        let access_token = match self.config.grants.token_format {
            Some(TokenFormat::Jwt) => jwt::access_token(self, client, &authorization, id).await?,
            Some(TokenFormat::Opaque) | None => self.issuer.token(),
        };
        let wanted = refresh == Refresh::With && lifetime.is_some();
        let refresh_token = wanted.then(|| self.issuer.token());
        let row = Token {
            id,
            access_token: Digest::of(access_token.expose()),
            refresh_token: refresh_token.as_ref().map(|token| Digest::of(token.expose())),
            token_hint: hint(access_token.expose()),
            credential_id: authorization.credential_id,
            service_id: self.binding()?,
            expires_in: lifetime.map_or(0, whole_seconds),
            created_at: self.now,
            ttl: self.ttl(refresh),
            authenticated_userid: authorization.authenticated_userid,
            scope: authorization.scope,
            family,
            binding: authorization.binding,
        };
        let expires_in = lifetime.map(whole_seconds);
        let token_type = Binding::token_type(row.binding.as_deref());
        let issued = Issued { id: row.id, access_token, token_type, expires_in, refresh_token, scope: None };
        Ok(Draft { row, issued })
    }

    /// What is bound so, and to what the request has proved.
    pub fn bind(&self, binding: Option<Arc<Binding>>) -> Option<Arc<Binding>> {
        sender::bind(binding, self.proved.bound.as_ref())
    }

    /// Refuses a request that has not proved what the code or refresh token is bound to.
    pub fn require_sender(&self, bound: Option<&Binding>, same: Same) -> Result<(), Refusal> {
        sender::require(bound, &self.proved, same)
    }

    /// Stores a new token that replaces none.
    pub async fn insert(&self, draft: Draft) -> Result<Issued, Error> {
        stored(self.issuer.tokens.insert_token(draft.row).await?)?;
        Ok(draft.issued)
    }

    /// The scope to name in the response, if it differs from the requested one.
    pub fn scope_to_name(&self, asked: Option<&Parameter>, granted: Option<&str>) -> Option<String> {
        let asked = asked.and_then(Parameter::text);
        match self.config.profile.scope_in_response {
            ScopeInResponse::WhenDifferent if asked != granted => Some(granted.unwrap_or_default().to_owned()),
            ScopeInResponse::WhenDifferent | ScopeInResponse::Absent => None,
        }
    }

    /// When a token's row expires, and its refresh token with it.
    pub fn ttl(&self, refresh: Refresh) -> Option<i64> {
        let kept = self.config.refresh_token_ttl;
        let lifetime = self.config.token_expiration?;
        let kept = match refresh {
            Refresh::With => kept?,
            Refresh::Without => kept.map_or(lifetime, |kept| kept.min(lifetime)),
        };
        Some(self.now.saturating_add(whole_seconds(kept)))
    }

    fn binding(&self) -> Result<Option<Uuid>, Error> {
        if self.config.global_credentials {
            return Ok(None);
        }
        self.service_id.map(Some).ok_or(Error::NoService)
    }
}

/// A row is not stored if its client, service or plugin has just been deleted.
fn stored(outcome: Outcome) -> Result<(), Refusal> {
    match outcome {
        Outcome::Won(()) => Ok(()),
        Outcome::Lost => Err(Refusal::InvalidClient(Mode::Parameters)),
    }
}

/// A lifetime in the form used by rows and responses.
pub fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
