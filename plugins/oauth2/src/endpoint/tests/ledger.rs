//! Tokens and codes in memory, with the rules of the store port.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::store::registrations::{Quota, Registration, Registrations};
use crate::store::waiting::{Decision, DeviceCode, PushedRequest, WaitingRequests};
use crate::store::{Cause, Code, Outcome, RecentRefresh, Refreshable, Remembered, Repeatable, Rotation, Token, Tokens};
use crate::token::Digest;

/// A used code or refresh token: its family and client, and how long a second use is noticed.
type Used = (Option<Uuid>, Uuid, Remembered);

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) tokens: Mutex<Vec<Token>>,
    pub(crate) codes: Mutex<Vec<Code>>,
    /// By the refresh token that was presented: the row, and what was stored.
    pub(crate) refreshes: Mutex<HashMap<Digest, (Uuid, Repeatable)>>,
    pub(crate) used: Mutex<HashMap<Digest, Used>>,
    /// Refresh tokens of narrowed access tokens, by row: what they have.
    pub(crate) granted: Mutex<HashMap<Uuid, String>>,
    pub(crate) pushed: Mutex<Vec<PushedRequest>>,
    pub(crate) devices: Mutex<Vec<DeviceCode>>,
    pub(crate) down: AtomicBool,
}

impl Ledger {
    fn available(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("stopped by the test".into()))
        } else {
            Ok(())
        }
    }
}

fn is_alive(ttl: Option<i64>, now: i64) -> bool {
    ttl.is_none_or(|ttl| ttl >= now)
}

#[async_trait]
impl Tokens for Ledger {
    async fn find_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        self.available()?;
        let tokens = self.tokens.lock().unwrap();
        let found =
            tokens.iter().filter(|token| access_tokens.contains(&token.access_token) && is_alive(token.ttl, now));
        Ok(found.cloned().collect())
    }

    async fn find_by_refresh_token(&self, refresh_token: Digest, now: i64) -> Result<Option<Refreshable>, StoreError> {
        self.available()?;
        let tokens = self.tokens.lock().unwrap();
        let mut alive = tokens.iter().filter(|token| is_alive(token.ttl, now));
        let found = alive.find(|token| token.refresh_token == Some(refresh_token)).cloned();
        let granted = |token: &Token| self.granted.lock().unwrap().get(&token.id).cloned();
        Ok(found.map(|token| Refreshable { granted_scope: granted(&token), token }))
    }

    async fn insert_token(&self, token: Token) -> Result<Outcome, StoreError> {
        self.available()?;
        self.tokens.lock().unwrap().push(token);
        Ok(Outcome::Won(()))
    }

    async fn insert_code(&self, code: Code) -> Result<Outcome, StoreError> {
        self.available()?;
        self.codes.lock().unwrap().push(code);
        Ok(Outcome::Won(()))
    }

    async fn find_code(&self, code: Digest, now: i64) -> Result<Option<Code>, StoreError> {
        self.available()?;
        let codes = self.codes.lock().unwrap();
        Ok(codes.iter().find(|known| known.code == code && is_alive(Some(known.ttl), now)).cloned())
    }

    async fn redeem_code(
        &self,
        code: Digest,
        credential_id: Uuid,
        token: Token,
        remembered_until: Option<i64>,
        now: i64,
    ) -> Result<Outcome, StoreError> {
        self.available()?;
        let mut codes = self.codes.lock().unwrap();
        let taken =
            |known: &Code| known.code == code && known.credential_id == credential_id && is_alive(Some(known.ttl), now);
        let Some(index) = codes.iter().position(taken) else { return Ok(Outcome::Lost) };
        codes.remove(index);
        if let Some(until) = remembered_until {
            let remembered = Remembered { tolerated_until: 0, until };
            self.used.lock().unwrap().insert(code, (token.family, credential_id, remembered));
        }
        self.tokens.lock().unwrap().push(token);
        Ok(Outcome::Won(()))
    }

    async fn rotate_refresh_token(
        &self,
        refresh_token: Digest,
        credential_id: Uuid,
        rotation: Rotation,
        repeatable: Option<Repeatable>,
        now: i64,
    ) -> Result<Outcome<Digest>, StoreError> {
        self.available()?;
        let mut tokens = self.tokens.lock().unwrap();
        let taken = tokens.iter_mut().find(|token| {
            token.refresh_token == Some(refresh_token)
                && token.credential_id == credential_id
                && is_alive(token.ttl, now)
        });
        let Some(row) = taken else { return Ok(Outcome::Lost) };
        let ended = row.access_token;
        match rotation {
            Rotation::Replace { successor, granted_scope, remembered } => {
                if let Some(remembered) = remembered {
                    let used = (successor.family, credential_id, remembered);
                    self.used.lock().unwrap().insert(refresh_token, used);
                }
                self.granted.lock().unwrap().extend(granted_scope.map(|scope| (successor.id, scope)));
                *row = successor;
            }
            Rotation::Renew { replaces, .. } if replaces != ended => return Ok(Outcome::Lost),
            Rotation::Renew {
                access_token,
                token_hint,
                expires_in,
                created_at,
                ttl,
                binding,
                scope,
                granted_scope,
                ..
            } => {
                let mut granted = self.granted.lock().unwrap();
                granted.remove(&row.id);
                granted.extend(granted_scope.map(|scope| (row.id, scope)));
                *row = Token { access_token, token_hint, expires_in, created_at, ttl, binding, scope, ..row.clone() };
            }
        }
        if let Some(repeatable) = repeatable {
            self.refreshes.lock().unwrap().insert(refresh_token, (row.id, repeatable));
        }
        Ok(Outcome::Won(ended))
    }

    async fn end_replayed(
        &self,
        used: Digest,
        credential_id: Uuid,
        cause: Cause,
        now: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.available()?;
        let used = self.used.lock().unwrap().get(&used).copied();
        let Some((family, client, remembered)) = used else { return Ok(Vec::new()) };
        let is_tolerated = cause == Cause::Reuse && now <= remembered.tolerated_until;
        if client != credential_id || is_tolerated || now > remembered.until {
            return Ok(Vec::new());
        }
        let ended = self.tokens.lock().unwrap().extract_if(.., |token| token.family == family).collect::<Vec<_>>();
        Ok(ended.into_iter().map(|token| token.id).collect())
    }

    async fn find_recent_refresh(&self, refresh_token: Digest, now: i64) -> Result<Option<RecentRefresh>, StoreError> {
        self.available()?;
        let (tokens, refreshes) = (self.tokens.lock().unwrap(), self.refreshes.lock().unwrap());
        let Some((id, Repeatable { sealed, until })) = refreshes.get(&refresh_token) else { return Ok(None) };
        let token = tokens.iter().find(|token| token.id == *id && is_alive(token.ttl, now) && *until >= now);
        let granted_scope = self.granted.lock().unwrap().get(id).cloned();
        Ok(token.map(|token| RecentRefresh { token: token.clone(), granted_scope, sealed: sealed.clone() }))
    }

    async fn end_family(&self, family: Uuid, credential_id: Uuid, _: i64) -> Result<(), StoreError> {
        self.available()?;
        let is_member = |token: &Token| token.family == Some(family) || token.id == family;
        self.tokens.lock().unwrap().retain(|token| !(is_member(token) && token.credential_id == credential_id));
        Ok(())
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.available()
    }

    async fn any_imported(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl WaitingRequests for Ledger {
    async fn insert_pushed(&self, request: PushedRequest) -> Result<Outcome, StoreError> {
        self.available()?;
        self.pushed.lock().unwrap().push(request);
        Ok(Outcome::Won(()))
    }

    async fn find_pushed(
        &self,
        reference: Digest,
        credential_id: Uuid,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<String>, StoreError> {
        self.available()?;
        let pushed = self.pushed.lock().unwrap();
        let found = pushed.iter().find(|request| {
            (request.reference, request.credential_id, request.plugin_id) == (reference, credential_id, plugin_id)
                && request.expires_at >= now
        });
        Ok(found.map(|request| request.parameters.clone()))
    }

    async fn take_pushed(
        &self,
        reference: Digest,
        credential_id: Uuid,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<String>, StoreError> {
        self.available()?;
        let mut pushed = self.pushed.lock().unwrap();
        let index = pushed.iter().position(|request| {
            (request.reference, request.credential_id, request.plugin_id) == (reference, credential_id, plugin_id)
                && request.expires_at >= now
        });
        Ok(index.map(|index| pushed.remove(index).parameters))
    }

    async fn insert_device(&self, device: DeviceCode) -> Result<Outcome, StoreError> {
        self.available()?;
        let mut devices = self.devices.lock().unwrap();
        if devices.iter().any(|known| known.user_code == device.user_code) {
            return Ok(Outcome::Lost);
        }
        devices.push(device);
        Ok(Outcome::Won(()))
    }

    async fn find_user_code(
        &self,
        user_code: Digest,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<DeviceCode>, StoreError> {
        self.available()?;
        let devices = self.devices.lock().unwrap();
        Ok(devices.iter().find(|device| is_waiting(device, user_code, plugin_id, now)).cloned())
    }

    async fn decide(
        &self,
        user_code: Digest,
        plugin_id: Uuid,
        decision: Decision,
        scope: Option<String>,
        now: i64,
    ) -> Result<Outcome<DeviceCode>, StoreError> {
        self.available()?;
        let mut devices = self.devices.lock().unwrap();
        let Some(device) = devices.iter_mut().find(|device| is_waiting(device, user_code, plugin_id, now)) else {
            return Ok(Outcome::Lost);
        };
        *device = DeviceCode { decision, scope, ..device.clone() };
        Ok(Outcome::Won(device.clone()))
    }

    async fn poll(
        &self,
        device_code: Digest,
        credential_id: Uuid,
        _now_millis: i64,
    ) -> Result<Option<DeviceCode>, StoreError> {
        self.available()?;
        let devices = self.devices.lock().unwrap();
        let found =
            devices.iter().find(|device| (device.device_code, device.credential_id) == (device_code, credential_id));
        Ok(found.cloned())
    }

    async fn redeem_device_code(
        &self,
        device_code: Digest,
        credential_id: Uuid,
        token: Token,
        now: i64,
    ) -> Result<Outcome, StoreError> {
        self.available()?;
        let mut devices = self.devices.lock().unwrap();
        let index = devices.iter().position(|device| {
            (device.device_code, device.credential_id) == (device_code, credential_id)
                && matches!(device.decision, Decision::Approved(_))
                && device.expires_at >= now
        });
        let Some(index) = index else { return Ok(Outcome::Lost) };
        devices.remove(index);
        self.tokens.lock().unwrap().push(token);
        Ok(Outcome::Won(()))
    }
}

fn is_waiting(device: &DeviceCode, user_code: Digest, plugin_id: Uuid, now: i64) -> bool {
    (device.user_code, device.plugin_id) == (user_code, plugin_id)
        && device.decision == Decision::Pending
        && device.expires_at >= now
}

/// Registrations are tried with real stores.
#[async_trait]
impl Registrations for Ledger {
    async fn insert_registration(&self, _: Registration, _: Quota) -> Result<Outcome, StoreError> {
        Ok(Outcome::Lost)
    }

    async fn find_registration(&self, _: Uuid) -> Result<Option<Registration>, StoreError> {
        Ok(None)
    }

    async fn update_registration(&self, _: Uuid, _: String) -> Result<Outcome, StoreError> {
        Ok(Outcome::Lost)
    }

    async fn delete_registration(&self, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find_unused(&self, _: i64, _: i64) -> Result<Vec<Uuid>, StoreError> {
        Ok(Vec::new())
    }
}
