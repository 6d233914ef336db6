//! Whose requests are counted together.

use std::net::IpAddr;

use http::HeaderName;
use tollgate_plugin::{Credential, Request};
use uuid::Uuid;

/// What requests are counted by (`limit_by`).
#[derive(Debug)]
pub(crate) enum LimitBy {
    Consumer,
    Credential,
    Ip,
    Service,
    Header(HeaderName),
    Path(String),
}

/// The entities that an instance is bound to: instances count apart unless these are the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) route: Option<Uuid>,
    pub(crate) service: Option<Uuid>,
}

/// A digest of who is counted, and where: what is stored tells neither addresses nor values of headers.
pub(crate) type Key = [u8; 32];

/// Who sent a request. What an instance counts by may be missing: then it counts by address.
#[derive(Debug, PartialEq, Eq)]
enum Sender<'r> {
    Entity(Uuid),
    Address(IpAddr),
    Header(&'r [u8]),
    Path(&'r str),
}

impl LimitBy {
    /// The key of a request's counter.
    pub(crate) fn key(&self, scope: Scope, request: &Request<'_>) -> Key {
        let mut hasher = blake3::Hasher::new();
        for id in [scope.route, scope.service] {
            hasher.update(id.unwrap_or_default().as_bytes());
        }
        // A kind is one byte, so that what one kind calls itself is no other's name.
        let mut update = |kind: u8, bytes: &[u8]| {
            hasher.update(&[kind]);
            hasher.update(bytes);
        };
        match self.sender(request) {
            Sender::Entity(id) => update(0, id.as_bytes()),
            Sender::Address(IpAddr::V4(address)) => update(1, &address.octets()),
            Sender::Address(IpAddr::V6(address)) => update(2, &address.octets()),
            Sender::Header(value) => update(3, value),
            Sender::Path(path) => update(4, path.as_bytes()),
        }
        *hasher.finalize().as_bytes()
    }

    fn sender<'r>(&self, request: &Request<'r>) -> Sender<'r> {
        let consumer = || request.identity.and_then(|identity| identity.consumer);
        let credential = || match request.identity.and_then(|identity| identity.credential) {
            Some(Credential::Entity(id)) => Some(id),
            Some(Credential::ThirdPartyToken) | None => None,
        };
        let found = match self {
            Self::Consumer => consumer().or_else(credential).map(Sender::Entity),
            Self::Credential => credential().map(Sender::Entity),
            Self::Ip => None,
            Self::Service => request.target.service_id.map(Sender::Entity),
            Self::Header(name) => request.headers.get(name).map(|value| Sender::Header(value.as_bytes())),
            Self::Path(path) => (request.path == path).then_some(Sender::Path(request.path)),
        };
        found.unwrap_or_else(|| Sender::Address(request.client.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::{HeaderMap, HeaderValue, Method};
    use tollgate_core::request::{Addressed, Edits, Identity, RequestBody, Target};

    use super::*;

    const NOWHERE: Scope = Scope { route: None, service: None };

    fn ask<T>(client: &str, path: &str, identity: Option<Identity>, look: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-key"), HeaderValue::from_static("10.0.0.1"))]);
        let target = Target { route_id: Uuid::nil(), service_id: Some(Uuid::from_u128(9)) };
        look(&Request {
            method: &Method::GET,
            path,
            query: None,
            headers: &headers,
            http2: false,
            tls: false,
            peer: [127, 0, 0, 1].into(),
            client: client.parse().unwrap(),
            peer_trusted: false,
            addressed: Addressed::default(),
            certificate: None,
            arrival: &(),
            target: &target,
            body: RequestBody::Unread,
            edits: Edits::default(),
            response: Vec::new(),
            identity,
            served_stale: None,
            notes: None,
        })
    }

    #[test]
    fn requests_are_counted_by_what_is_configured_or_by_address() {
        let (bob, card) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let of_bob = Some(Identity { consumer: Some(bob), credential: Some(Credential::Entity(card)) });
        let anonymous = Some(Identity { consumer: Some(bob), credential: None });
        let stranger = Some(Identity { consumer: None, credential: Some(Credential::ThirdPartyToken) });
        let address = Sender::Address([10, 0, 0, 1].into());
        let header = |name: &str| LimitBy::Header(name.parse().unwrap());
        for (by, identity, expected) in [
            (LimitBy::Consumer, of_bob, Sender::Entity(bob)),
            (LimitBy::Consumer, stranger, address),
            (LimitBy::Credential, of_bob, Sender::Entity(card)),
            (LimitBy::Credential, anonymous, Sender::Address([10, 0, 0, 1].into())),
            (LimitBy::Ip, of_bob, Sender::Address([10, 0, 0, 1].into())),
            (LimitBy::Service, None, Sender::Entity(Uuid::from_u128(9))),
            (header("x-key"), None, Sender::Header(b"10.0.0.1")),
            (header("x-other"), None, Sender::Address([10, 0, 0, 1].into())),
            (LimitBy::Path("/a".to_owned()), None, Sender::Path("/a")),
            (LimitBy::Path("/a/".to_owned()), None, Sender::Address([10, 0, 0, 1].into())),
        ] {
            ask("::ffff:10.0.0.1", "/a", identity, |request| assert_eq!(by.sender(request), expected, "{by:?}"));
        }
    }

    #[test]
    fn different_senders_and_scopes_have_different_counters() {
        let by_header = LimitBy::Header(HeaderName::from_static("x-key"));
        let scope = Scope { route: Some(Uuid::from_u128(7)), service: None };
        let turned = Scope { route: None, service: Some(Uuid::from_u128(7)) };
        let key = |by: &LimitBy, scope, client: &str| ask(client, "10.0.0.1", None, |request| by.key(scope, request));
        let keys = HashSet::from([
            key(&LimitBy::Ip, NOWHERE, "10.0.0.1"),
            key(&LimitBy::Ip, NOWHERE, "10.0.0.2"),
            key(&LimitBy::Ip, scope, "10.0.0.1"),
            key(&LimitBy::Ip, turned, "10.0.0.1"),
            key(&by_header, NOWHERE, "10.0.0.1"),
            key(&LimitBy::Path("10.0.0.1".to_owned()), NOWHERE, "10.0.0.1"),
        ]);
        assert_eq!(keys.len(), 6);
        assert!(keys.contains(&key(&LimitBy::Ip, NOWHERE, "::ffff:10.0.0.1")));
    }
}
