//! Waiting requests in the plugin's tables. Every method is one statement.

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use tollgate_plugin::store::{Abort, Parameter, Row, Statement, Store, statement};
use uuid::Uuid;

use super::{Decision, DeviceCode, PushedRequest, WaitingRequests};
use crate::store::columns::{binding, bound, digest, token_parameters};
use crate::store::{Outcome, Token};
use crate::token::Digest;

const INSERT_PUSHED_REQUEST: Statement = statement!("oauth2/insert_pushed_request.sql");
const FIND_PUSHED_REQUEST: Statement = statement!("oauth2/find_pushed_request.sql");
const TAKE_PUSHED_REQUEST: Statement = statement!("oauth2/take_pushed_request.sql");
const INSERT_DEVICE_CODE: Statement = statement!("oauth2/insert_device_code.sql");
const FIND_USER_CODE: Statement = statement!("oauth2/find_user_code.sql");
const DECIDE_DEVICE_CODE: Statement = statement!("oauth2/decide_device_code.sql");
const POLL_DEVICE_CODE: Statement = statement!("oauth2/poll_device_code.sql");
const REDEEM_DEVICE_CODE: Statement = statement!("oauth2/redeem_device_code.sql");

const PENDING: &str = "pending";
const APPROVED: &str = "approved";
const DENIED: &str = "denied";

/// Waiting requests in a store.
pub(super) struct Tables(Store);

impl Tables {
    pub(super) fn new(store: &Store) -> Self {
        Self(store.clone())
    }
}

/// Whether a statement that may change a row has changed one.
fn changed(rows: &[Row]) -> Outcome {
    if rows.is_empty() { Outcome::Lost } else { Outcome::Won(()) }
}

fn device(row: &Row) -> Result<DeviceCode, StoreError> {
    let corrupt = StoreError::Corrupt { kind: "oauth2_device_codes", what: "status" };
    let status: String = row.get(7)?;
    Ok(DeviceCode {
        id: row.get(0)?,
        device_code: Digest(row.get(1)?),
        user_code: Digest(row.get(2)?),
        credential_id: row.get(3)?,
        service_id: row.get(4)?,
        plugin_id: row.get(5)?,
        scope: row.get(6)?,
        decision: match (status.as_str(), row.get(8)?) {
            (PENDING, _) => Decision::Pending,
            (APPROVED, Some(userid)) => Decision::Approved(userid),
            (DENIED, _) => Decision::Denied,
            _ => return Err(corrupt),
        },
        poll_interval: row.get(9)?,
        hurried: row.get(10)?,
        created_at: row.get(11)?,
        expires_at: row.get(12)?,
        binding: bound(row, 13, "oauth2_device_codes")?,
    })
}

#[async_trait]
impl WaitingRequests for Tables {
    async fn insert_pushed(&self, request: PushedRequest) -> Result<Outcome, StoreError> {
        let insert = self.0.statement(request, async |request, tx| {
            let parameters = [
                digest(&request.reference),
                request.credential_id.into(),
                request.plugin_id.into(),
                (&request.parameters).into(),
                request.expires_at.into(),
            ];
            Ok::<_, Abort>(changed(&tx.rows(&INSERT_PUSHED_REQUEST, &parameters).await?))
        });
        insert.await
    }

    async fn find_pushed(
        &self,
        reference: Digest,
        credential_id: Uuid,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<String>, StoreError> {
        let key = (reference, credential_id, plugin_id, now);
        let find = self.0.read(key, async |(reference, credential_id, plugin_id, now), session| {
            let parameters = [digest(reference), (*credential_id).into(), (*plugin_id).into(), (*now).into()];
            let rows = session.rows(&FIND_PUSHED_REQUEST, &parameters).await?;
            rows.first().map(|row| row.get(0)).transpose()
        });
        find.await
    }

    async fn take_pushed(
        &self,
        reference: Digest,
        credential_id: Uuid,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<String>, StoreError> {
        let key = (reference, credential_id, plugin_id, now);
        let take = self.0.statement(key, async |(reference, credential_id, plugin_id, now), tx| {
            let parameters = [digest(reference), (*credential_id).into(), (*plugin_id).into(), (*now).into()];
            let rows = tx.rows(&TAKE_PUSHED_REQUEST, &parameters).await?;
            Ok::<_, Abort>(rows.first().map(|row| row.get(0)).transpose()?)
        });
        take.await
    }

    async fn insert_device(&self, device: DeviceCode) -> Result<Outcome, StoreError> {
        let insert = self.0.statement(device, async |device, tx| {
            let parameters = [
                device.id.into(),
                digest(&device.device_code),
                digest(&device.user_code),
                device.credential_id.into(),
                device.service_id.into(),
                device.plugin_id.into(),
                device.scope.as_ref().into(),
                device.poll_interval.into(),
                device.created_at.into(),
                device.expires_at.into(),
                binding(device.binding.as_ref()),
            ];
            Ok::<_, Abort>(changed(&tx.rows(&INSERT_DEVICE_CODE, &parameters).await?))
        });
        insert.await
    }

    async fn find_user_code(
        &self,
        user_code: Digest,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<DeviceCode>, StoreError> {
        let find = self.0.read((user_code, plugin_id, now), async |(user_code, plugin_id, now), session| {
            let rows = session.rows(&FIND_USER_CODE, &[digest(user_code), (*plugin_id).into(), (*now).into()]).await?;
            rows.first().map(device).transpose()
        });
        find.await
    }

    async fn decide(
        &self,
        user_code: Digest,
        plugin_id: Uuid,
        decision: Decision,
        scope: Option<String>,
        now: i64,
    ) -> Result<Outcome<DeviceCode>, StoreError> {
        let input = (user_code, plugin_id, decision, scope, now);
        let decide = self.0.statement(input, async |(user_code, plugin_id, decision, scope, now), tx| {
            let (status, userid) = match decision {
                Decision::Pending => (PENDING, None),
                Decision::Approved(userid) => (APPROVED, Some(userid)),
                Decision::Denied => (DENIED, None),
            };
            let key = [digest(user_code), (*plugin_id).into()];
            let new = [Parameter::Text(status), userid.into(), scope.as_ref().into(), (*now).into()];
            let rows = tx.rows(&DECIDE_DEVICE_CODE, &[&key[..], &new].concat()).await?;
            Ok::<_, Abort>(match rows.first() {
                Some(row) => Outcome::Won(device(row)?),
                None => Outcome::Lost,
            })
        });
        decide.await
    }

    async fn poll(
        &self,
        device_code: Digest,
        credential_id: Uuid,
        now_millis: i64,
    ) -> Result<Option<DeviceCode>, StoreError> {
        let key = (device_code, credential_id, now_millis);
        let poll = self.0.statement(key, async |(device_code, credential_id, now), tx| {
            let parameters = [digest(device_code), (*credential_id).into(), (*now).into()];
            let rows = tx.rows(&POLL_DEVICE_CODE, &parameters).await?;
            Ok::<_, Abort>(rows.first().map(device).transpose()?)
        });
        poll.await
    }

    async fn redeem_device_code(
        &self,
        device_code: Digest,
        credential_id: Uuid,
        token: Token,
        now: i64,
    ) -> Result<Outcome, StoreError> {
        // The statement takes the client from the token.
        let token = Token { credential_id, ..token };
        let redeem = self.0.statement((token, device_code, now), async |(token, device_code, now), tx| {
            let mut parameters = token_parameters(token);
            parameters.extend([digest(device_code), Parameter::Integer(*now)]);
            Ok::<_, Abort>(changed(&tx.rows(&REDEEM_DEVICE_CODE, &parameters).await?))
        });
        redeem.await
    }
}
