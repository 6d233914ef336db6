//! Device authorization grant (RFC 8628).
//!
//! 1. §3.1, §3.2: a device begins, and gets a device code for itself and a user code for the user: [`begin`].
//! 2. §3.3: the user types the user code at the API's own page, whose back end looks it up ([`waiting`]) and records
//!    what the user decides ([`decide`]), with the provision key. Each user has a limit on wrong codes (§5.1).
//! 3. §3.4, §3.5: meanwhile the device polls, at its interval, and gets a token once the user has agreed:
//!    [`exchange`]. It proves the key with which it began, if it did ([`crate::sender`]). One statement redeems the code and adds the token, so that a code is used once.

use tollgate_core::secret::Secret;

use crate::client::AuthenticatedClient;
use crate::client_metadata::DEVICE_CODE;
use crate::error::{Error, Mode, Refusal};
use crate::grant::{Authorization, Grantor, Refresh, userid};
use crate::guesses::Kind;
use crate::issuer::Issued;
use crate::parameters::Parameters;
use crate::resource;
use crate::scope;
use crate::sender::Same;
use crate::store::Outcome;
use crate::store::waiting::{Decision, DeviceCode};
use crate::token::{Digest, Shape};
use crate::user_code::UserCode;

/// How often another user code is made if one is taken.
const ATTEMPTS: usize = 4;

/// What a device is told.
pub struct Begun {
    /// For the device.
    pub device_code: Secret,
    /// For the user.
    pub user_code: UserCode,
    /// Seconds in which both can be used.
    pub expires_in: i64,
    /// Seconds between two polls.
    pub interval: i64,
}

/// Step 1.
pub async fn begin(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<Begun, Error> {
    if !client.credential().may_use(DEVICE_CODE) {
        return Err(Refusal::UnauthorizedClient.into());
    }
    let asked = parameters.get("scope");
    let scope = scope::granted_to(client.credential(), grantor.config, asked)?;
    grantor.count("scope_syntax", |config| scope::granted(config, asked));
    let (issuer, grants) = (grantor.issuer, &grantor.config.grants);
    let (digest, device_code) = issuer.code();
    let (expires_in, interval) = (i64::from(grants.device_code_lifetime), i64::from(grants.device_poll_interval));
    let mut device = DeviceCode {
        id: issuer.random.uuid(),
        device_code: digest,
        user_code: digest,
        credential_id: client.credential().id,
        service_id: grantor.binding()?,
        plugin_id: grantor.plugin_id,
        scope,
        decision: Decision::Pending,
        binding: grantor.bind(resource::binding(grantor.config, parameters, None)?),
        poll_interval: interval,
        hurried: false,
        created_at: grantor.now,
        expires_at: grantor.now.saturating_add(expires_in),
    };
    for _ in 0..ATTEMPTS {
        let user_code = UserCode::generate(issuer.random.as_ref());
        device.user_code = issuer.user_codes.digest(&user_code);
        if issuer.waiting.insert_device(device.clone()).await? == Outcome::Won(()) {
            return Ok(Begun { device_code, user_code, expires_in, interval });
        }
    }
    Err(Refusal::InvalidClient(Mode::Parameters).into())
}

/// Step 2: what the user is asked about. Wrong codes are counted for each user.
pub async fn waiting(grantor: &Grantor<'_>, parameters: &Parameters) -> Result<DeviceCode, Error> {
    let typed = parameters.text("user_code").ok_or(Refusal::UserCode)?;
    let name = format!("{} {}", grantor.plugin_id, userid(parameters)?);
    let mut attempt = grantor.guesses.attempt(Kind::UserCode, &name, grantor.address);
    attempt.count()?;
    let found = match UserCode::parse(typed) {
        Some(code) => {
            let digest = grantor.issuer.user_codes.digest(&code);
            grantor.issuer.waiting.find_user_code(digest, grantor.plugin_id, grantor.now).await?
        }
        None => None,
    };
    match found.filter(|device| grantor.accepts(device.service_id)) {
        Some(device) => {
            attempt.succeeded();
            Ok(device)
        }
        None => {
            attempt.failed()?;
            Err(Refusal::UserCode.into())
        }
    }
}

/// Step 2: the user's decision about what [`waiting`] found. Whoever decides first has decided.
pub async fn decide(
    grantor: &Grantor<'_>,
    device: DeviceCode,
    decision: Decision,
    parameters: &Parameters,
) -> Result<(), Error> {
    let scope = match parameters.get("scope") {
        None => device.scope,
        Some(narrower) => scope::within(device.scope.as_deref(), narrower)?,
    };
    let decided =
        grantor.issuer.waiting.decide(device.user_code, grantor.plugin_id, decision, scope, grantor.now).await?;
    match decided {
        Outcome::Won(_) => Ok(()),
        Outcome::Lost => Err(Refusal::UserCode.into()),
    }
}

/// Step 3.
pub async fn exchange(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<Issued, Error> {
    let issuer = grantor.issuer;
    let presented = parameters.text("device_code").ok_or(Refusal::Missing("device_code"))?;
    if issuer.own_tokens.is_ours(presented) != Shape::Genuine {
        return Err(Refusal::DeviceCode.into());
    }
    let (digest, credential_id) = (Digest::of(presented), client.credential().id);
    let polled = issuer.waiting.poll(digest, credential_id, issuer.clock.now_millis()).await?;
    let device = polled.filter(|device| is_of(grantor, device)).ok_or(Refusal::DeviceCode)?;
    if device.expires_at < grantor.now {
        return Err(Refusal::DeviceCodeExpired.into());
    }
    grantor.require_sender(device.binding.as_deref(), Same::Exactly)?;
    let userid = match device.decision {
        Decision::Approved(userid) => userid,
        Decision::Denied => return Err(Refusal::UserDenied.into()),
        Decision::Pending if device.hurried => return Err(Refusal::SlowDown.into()),
        Decision::Pending => return Err(Refusal::AuthorizationPending.into()),
    };
    scope::still_granted(client.credential(), grantor.config, device.scope.as_deref())?;
    let binding = resource::narrowed(grantor.config, parameters, device.binding)?;
    let authorization =
        Authorization { credential_id, authenticated_userid: Some(userid), scope: device.scope, binding };
    // The device has not heard which scope its user has granted.
    let named = grantor.scope_to_name(None, authorization.scope.as_deref());
    let mut draft = grantor.draft(client.credential(), authorization, Refresh::With, Some(device.id)).await?;
    draft.issued.scope = named;
    match issuer.waiting.redeem_device_code(digest, credential_id, draft.row, grantor.now).await? {
        Outcome::Won(()) => Ok(draft.issued),
        Outcome::Lost => Err(Refusal::DeviceCode.into()),
    }
}

/// Whether it was begun here: at this instance, and for this service.
fn is_of(grantor: &Grantor<'_>, device: &DeviceCode) -> bool {
    device.plugin_id == grantor.plugin_id && grantor.accepts(device.service_id)
}
