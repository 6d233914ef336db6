//! The audit log as a port: what was changed or issued, by whom and from where.
//!
//! Invariant: an event holds no secret. It names entities by id, and by those names that are no credentials; of what
//! was written it has the names of the fields, never their values.

use std::net::IpAddr;

use serde::Serialize;
use uuid::Uuid;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A write through the Admin API.
    AdminWrite,
    /// A request that the Admin API refused because of who sent it, or from where.
    AdminRefused,
    /// An authorization code was issued.
    CodeIssued,
    /// A token was issued.
    TokenIssued,
    /// A refresh token was exchanged.
    TokenRefreshed,
    /// A token was revoked through the Admin API.
    TokenRevoked,
    /// Tokens and codes ended, because what they belong to was deleted.
    TokensEnded,
    /// A client, or the login page, failed to authenticate.
    ClientRefused,
    /// A code or a refresh token was not accepted.
    GrantRefused,
    /// The node was told to drain.
    NodeDraining,
    /// It reports again that it is ready.
    NodeReady,
    /// A client has registered itself.
    ClientRegistered,
    /// It has changed its registration.
    ClientChanged,
    /// It has deleted it.
    ClientDeleted,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused: nothing was changed.
    Refused,
    /// It failed, and may have been done nevertheless.
    Failed,
}

/// One event. Absent fields are left out of the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What happened.
    pub event: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// Who did it: `token:NAME`, `certificate:SUBJECT` or `anonymous` at the Admin API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// From where: the address of the connection's other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The method of an Admin request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The kind of entity, or the node's resource, that an Admin request named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The entity's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The fields that changed or were given, sorted; nested ones as `config.scopes`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The status of the response to an Admin request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was refused: a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<&'static str>,
    /// The credential of the client, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Uuid>,
    /// The service of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Uuid>,
    /// The plugin instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Uuid>,
    /// How many tokens ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<i64>,
    /// How many authorization codes ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codes: Option<i64>,
}

tokio::task_local! {
    static CALLER: Caller;
}

/// Whose Admin request a task handles.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As [`Event::actor`].
    pub actor: String,
    /// As [`Event::client`].
    pub client: Option<IpAddr>,
}

impl Caller {
    /// Handles a request of this caller: [`Event::by_caller`] names it in the events that `work` writes.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CALLER.scope(self, work).await
    }
}

impl Event {
    /// An event about which nothing else is known yet.
    pub fn new(event: Action, outcome: Outcome) -> Self {
        Self {
            event,
            outcome,
            actor: None,
            client: None,
            method: None,
            entity: None,
            id: None,
            fields: Vec::new(),
            status: None,
            reason: None,
            grant: None,
            credential: None,
            service: None,
            plugin: None,
            tokens: None,
            codes: None,
        }
    }

    /// With the caller whose Admin request this task handles, if it handles one.
    #[must_use]
    pub fn by_caller(mut self) -> Self {
        if let Ok(caller) = CALLER.try_with(Caller::clone) {
            (self.actor, self.client) = (Some(caller.actor), caller.client);
        }
        self
    }
}

/// Where events go. Writing never waits: what cannot be kept is dropped and counted.
pub trait AuditLog: Send + Sync + 'static {
    /// Adds an event.
    fn write(&self, event: &Event);
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAuditLog;

impl AuditLog for NoAuditLog {
    fn write(&self, _event: &Event) {}
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_what_is_known() {
        let mut event = Event::new(Action::AdminWrite, Outcome::Done);
        assert_eq!(serde_json::to_value(&event).unwrap(), json!({"event": "admin_write", "outcome": "done"}));
        event.actor = Some("token:deploy".to_owned());
        event.fields = vec!["config.scopes".to_owned()];
        let expected = json!({
            "event": "admin_write", "outcome": "done", "actor": "token:deploy", "fields": ["config.scopes"],
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    }
}
