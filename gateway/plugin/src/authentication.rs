//! Authentication: what a plugin finds in a request, and what follows when several plugins
//! authenticate (oauth2.md §4.4). A plugin reports what it found; AND and OR are enforced here.
//!
//! - Without `anonymous` (AND), a request that this plugin does not accept is refused, whatever others found.
//! - With it (OR), the plugin does nothing if an earlier one accepted a credential. If it accepts none itself,
//!   the request continues as the anonymous consumer.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use tollgate_core::explanation::Finding;
use tollgate_core::notes::Caller;
use tollgate_core::plugin::{Access, Explains, Handler, Needs, PluginError, Verdict};
use tollgate_core::reply::{Body, Reply};
use tollgate_core::request::{Credential, HeaderBlock, Identity, Request};

use crate::cache::ServeCached;
use crate::consumers::{ConsumerFacts, Consumers};
use crate::credentials::CredentialFacts;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a plugin found in a request. `R` is the plugin's reason for accepting nothing.
#[derive(Debug)]
pub enum Authentication<R> {
    /// No credential of the plugin's kind.
    Absent(R),
    /// An invalid credential.
    Invalid(R),
    /// A valid credential.
    Valid(Authenticated),
}

/// The owner of a valid credential, and the identity headers the upstream receives.
#[derive(Debug, Clone)]
pub struct Authenticated {
    identity: Identity,
    headers: HeaderBlock,
}

impl Authenticated {
    /// An identity, with the headers that the upstream receives.
    pub fn new(identity: Identity, headers: HeaderBlock) -> Self {
        Self { identity, headers }
    }
}

impl From<&CredentialFacts> for Authenticated {
    fn from(credential: &CredentialFacts) -> Self {
        let identity =
            Identity { consumer: Some(credential.consumer.id), credential: Some(Credential::Entity(credential.id)) };
        Self { identity, headers: credential.headers.clone() }
    }
}

/// A plugin's finding for a request, or a verdict that applies whatever other plugins find, for example
/// because the body is needed, the store is unavailable, or the request is ambiguous.
pub type Found<R> = Result<Authentication<R>, Verdict>;

/// The result of inspecting a request without waiting.
pub enum Look<R, Q> {
    /// Decided.
    Found(Found<R>),
    /// The store has to be queried for this.
    Ask(Q),
}

/// The credential-specific part of an authentication plugin.
pub trait Authenticator: Send + Sync + 'static {
    /// Why no credential is accepted.
    type Refusal: Send;
    /// A query for the store.
    type Question: Send;
    /// Whether logs may name clients by their `X-Credential-Identifier`.
    const IDENTIFIERS_ARE_PUBLIC: bool = true;

    /// Inspects a request without waiting: the hot path. May remove the credential from it
    /// (`hide_credentials`).
    fn look(&self, request: &mut Request<'_>) -> Look<Self::Refusal, Self::Question>;

    /// Queries the store.
    fn ask(
        &self,
        question: Self::Question,
        request: &mut Request<'_>,
    ) -> impl Future<Output = Found<Self::Refusal>> + Send;

    /// The response to a request that is not accepted.
    fn refuse(&self, refusal: Self::Refusal, request: &Request<'_>) -> Reply;

    /// How long the instance serves what is cached while the store is away.
    fn serve_cached(&self) -> ServeCached;

    /// What it needs besides the request head.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// How it takes part when an operator asks what becomes of a token.
    fn explains(&self) -> Explains {
        Explains::Nothing
    }

    /// Headers that only this plugin sets for a credential. They are removed when another plugin, or none, has
    /// authenticated the request.
    fn own_headers(&self) -> &[HeaderName] {
        &[]
    }

    /// Whether a plugin that accepted such a credential has set the same headers itself: then they stay.
    fn shares_headers_for(&self, _accepted: Credential) -> bool {
        false
    }
}

/// An instance of an authentication plugin.
pub struct AuthenticationHandler<A> {
    authenticator: A,
    anonymous: Option<Anonymous>,
}

/// The consumer that unauthenticated requests fall through to.
struct Anonymous {
    /// The consumer's id or username.
    name: Box<str>,
    consumers: Consumers,
}

/// A challenge for `WWW-Authenticate`: `Key`, or `Key realm="R"` with the realm as a quoted string (RFC 9110 §5.6.4).
pub fn challenge(scheme: &str, realm: Option<&str>) -> String {
    match realm {
        None => scheme.to_owned(),
        Some(realm) => format!("{scheme} realm=\"{}\"", realm.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

impl<A: Authenticator> AuthenticationHandler<A> {
    /// `anonymous`: the configured consumer, by id or username, that unauthenticated requests fall through to.
    pub fn new(authenticator: A, anonymous: Option<&str>, consumers: &Consumers) -> Self {
        let anonymous = anonymous.map(|name| Anonymous { name: name.into(), consumers: consumers.clone() });
        Self { authenticator, anonymous }
    }

    /// Decides on a request.
    pub fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        if self.anonymous.is_some()
            && let Some(accepted) = accepted(request)
        {
            if !self.authenticator.shares_headers_for(accepted) {
                self.remove_own_headers(request);
            }
            return Access::Ready(Ok(Verdict::Continue));
        }
        let found = match self.authenticator.look(request) {
            Look::Found(found) => found,
            Look::Ask(question) => return Access::Pending(Box::pin(self.ask(question, request))),
        };
        match self.conclude(found, request) {
            Ok(verdict) => Access::Ready(Ok(verdict)),
            Err(anonymous) => Access::Pending(Box::pin(self.fall_through(anonymous, request))),
        }
    }

    async fn ask(&self, question: A::Question, request: &mut Request<'_>) -> Result<Verdict, PluginError> {
        let found = self.authenticator.ask(question, request).await;
        match self.conclude(found, request) {
            Ok(verdict) => Ok(verdict),
            Err(anonymous) => self.fall_through(anonymous, request).await,
        }
    }

    /// What follows; the error is the anonymous consumer that has to be looked up first.
    fn conclude(&self, found: Found<A::Refusal>, request: &mut Request<'_>) -> Result<Verdict, &Anonymous> {
        let refusal = match found {
            Ok(Authentication::Valid(Authenticated { identity, headers })) => {
                request.note(|caller| note(caller, identity, &headers, A::IDENTIFIERS_ARE_PUBLIC));
                request.edits.apply_owned(headers);
                request.identity = Some(identity);
                return Ok(Verdict::Continue);
            }
            Ok(Authentication::Absent(refusal) | Authentication::Invalid(refusal)) => refusal,
            Err(verdict) => return Ok(verdict),
        };
        let Some(anonymous) = &self.anonymous else {
            return Ok(Verdict::Reply(self.authenticator.refuse(refusal, request)));
        };
        let rule = self.authenticator.serve_cached();
        let known = anonymous.consumers.known_anonymous_for(&anonymous.name, rule, request);
        let consumer = known.ok_or(anonymous)?;
        self.identify_anonymous(&consumer, request);
        Ok(Verdict::Continue)
    }

    async fn fall_through(&self, anonymous: &Anonymous, request: &mut Request<'_>) -> Result<Verdict, PluginError> {
        let name = &*anonymous.name;
        Ok(match anonymous.consumers.anonymous(name).await {
            Ok(Some(consumer)) => {
                self.identify_anonymous(&consumer, request);
                Verdict::Continue
            }
            Ok(None) => {
                tracing::error!(anonymous = name, "anonymous consumer does not exist; request refused");
                let message = format!("anonymous consumer {name} is configured but doesn't exist");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Verdict::Reply(Reply::message(status, "anonymous_consumer_missing", message))
            }
            Err(error) => {
                if !error.is_reported() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, anonymous = name, "cannot look up anonymous consumer");
                }
                Verdict::Reply(Reply::unavailable("consumer_store_unavailable"))
            }
        })
    }

    fn identify_anonymous(&self, consumer: &Arc<ConsumerFacts>, request: &mut Request<'_>) {
        request.edits.apply(&consumer.anonymous_headers);
        self.remove_own_headers(request);
        request.identity = Some(Identity { consumer: Some(consumer.id), credential: None });
        request.explain(|explanation| {
            let name = consumer.username().map_or_else(|| consumer.id.to_string(), str::to_owned);
            let detail = format!("without an accepted credential, requests pass as the anonymous consumer {name}");
            explanation.tell("anonymous", Finding::Passed, detail);
        });
        request.note(|caller| {
            consumer.note(caller);
            (caller.credential, caller.client_id) = (None, None);
        });
    }

    fn remove_own_headers(&self, request: &mut Request<'_>) {
        self.authenticator.own_headers().iter().for_each(|name| request.edits.remove(name.clone()));
    }
}

impl<A: Authenticator> Handler for AuthenticationHandler<A> {
    fn needs(&self) -> Needs {
        self.authenticator.needs()
    }

    fn explains(&self) -> Explains {
        self.authenticator.explains()
    }

    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        self.access(request)
    }
}

/// A refusal in the client's protocol: a gRPC call gets its status in headers, and no body
/// (oauth2.md §4.2).
pub fn unauthenticated(refusal: Reply, request: &Request<'_>) -> Reply {
    in_protocol_of(request, refusal, "16", "Unauthenticated")
}

/// The same for a client that is known, but may not do this.
pub fn permission_denied(refusal: Reply, request: &Request<'_>) -> Reply {
    in_protocol_of(request, refusal, "7", "PermissionDenied")
}

fn in_protocol_of(
    request: &Request<'_>,
    mut refusal: Reply,
    grpc_status: &'static str,
    grpc_message: &'static str,
) -> Reply {
    if !request.is_grpc() {
        return refusal;
    }
    refusal.body = Body::Empty;
    refusal
        .with_header(GRPC_STATUS, HeaderValue::from_static(grpc_status))
        .with_header(GRPC_MESSAGE, HeaderValue::from_static(grpc_message))
}

/// Notes who sent a request, by the headers that say so upstream: every plugin renders them.
#[cold]
fn note(caller: &mut Caller, identity: Identity, headers: &HeaderBlock, names_client: bool) {
    let value = |name: &str| {
        let mut lines = headers.lines().split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b": "))?;
        std::str::from_utf8(value.trim_ascii_end()).ok().map(Box::from)
    };
    caller.consumer = identity.consumer;
    caller.consumer_name = value("X-Consumer-Username");
    caller.credential = match identity.credential {
        Some(Credential::Entity(id)) => Some(id),
        Some(Credential::ThirdPartyToken) | None => None,
    };
    caller.client_id = names_client.then(|| value("X-Credential-Identifier")).flatten();
}

/// The credential that an earlier plugin has accepted.
fn accepted(request: &Request<'_>) -> Option<Credential> {
    request.identity.as_ref().and_then(|identity| identity.credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_a_quoted_string() {
        for (realm, text) in
            [(None, "Key"), (Some("api"), r#"Key realm="api""#), (Some(r#"a "b" \ c"#), r#"Key realm="a \"b\" \\ c""#)]
        {
            assert_eq!(challenge("Key", realm), text);
        }
    }
}
