//! A request as a plugin sees it: checked, routed, without the client's identity headers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::explanation::Explanation;
use crate::forwarded::{self, Sender};
use crate::notes::{Caller, Notes};

pub use crate::forwarded::Addressed;
pub use crate::header_block::{BlockLine, BlockName, BlockNames, BlockPart, HeaderBlock};
pub use crate::name_filter::{NameBit, NameFilter};

/// The part of the request's body that the gateway has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody {
    /// Not read. Return [`crate::plugin::Verdict::NeedBody`] to have it read.
    Unread,
    /// The whole body.
    Read(Bytes),
    /// The body is larger than the plugin's limit, or larger than can be read and still be forwarded.
    TooLarge,
}

/// The route a request matched, and its service.
#[derive(Debug, Clone)]
pub struct Target {
    /// The route.
    pub route_id: Uuid,
    /// The route's service, if it has one.
    pub service_id: Option<Uuid>,
}

/// A change to a header of a message before it is sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Set, replacing every value of that name.
    Set(HeaderName, HeaderValue),
    /// Add a value to the existing ones.
    Append(HeaderName, HeaderValue),
    /// Remove.
    Remove(HeaderName),
    /// Set and remove several headers that were rendered beforehand.
    Apply(HeaderBlock),
}

/// Changes by plugins to the request that is sent upstream.
#[derive(Debug, Default)]
pub struct Edits {
    /// Applied in order, after hop-by-hop headers are removed.
    pub headers: SmallVec<[HeaderEdit; 8]>,
    /// Replaces the query; `Some("")` removes it.
    pub query: Option<String>,
    /// Replaces the body; only after it has been read.
    pub body: Option<Bytes>,
    /// The most bytes that the client's body may have. A longer one gets 413 with this message, and never reaches its
    /// end at the upstream.
    pub body_limit: Option<BodyLimit>,
}

/// A limit of a body whose length is not known before it has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    /// The most bytes.
    pub bytes: u64,
    /// What the client hears of a longer one.
    pub message: &'static str,
}

impl Edits {
    /// Sets a header of the upstream request.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.push(HeaderEdit::Set(name, value));
    }

    /// Sets and removes several headers of the upstream request.
    pub fn apply(&mut self, block: &HeaderBlock) {
        self.apply_owned(block.clone());
    }

    /// The same, for a block that only this request uses.
    pub fn apply_owned(&mut self, block: HeaderBlock) {
        self.headers.push(HeaderEdit::Apply(block));
    }

    /// Removes a header of the upstream request.
    pub fn remove(&mut self, name: HeaderName) {
        self.headers.push(HeaderEdit::Remove(name));
    }
}

/// Who sent the request, as determined by the authentication plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The consumer's id; `None` if a third party's token belongs to no consumer.
    pub consumer: Option<Uuid>,
    /// The credential that was presented; `None` for the anonymous consumer.
    pub credential: Option<Credential>,
}

/// A credential that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// The entity with this id.
    Entity(Uuid),
    /// A token of another authorization server, which no entity represents.
    ThirdPartyToken,
}

/// The certificate with which a client has proved its key in the TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Base64url of the SHA-256 of its DER: `x5t#S256` (RFC 8705 §3.1).
    pub thumbprint: String,
    /// The attributes of its subject, each with its type (a short name such as `CN`, or a dotted OID), in the order
    /// of RFC 4514: the most specific first.
    pub subject: Vec<(String, String)>,
    /// Whether one of the authorities that the operator has named vouches for it.
    pub trust: CertificateTrust,
}

/// What a client's certificate is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateTrust {
    /// It was issued by an authority that the operator has named, and is within its time.
    Verified,
    /// Nobody vouches for its subject: only its key is proved.
    KeyOnly,
}

/// How a request reached the gateway, for plugins that tell of it. Nothing is looked up unless it is asked for.
pub trait Arrival: std::fmt::Debug + Sync {
    /// The address that accepted the connection.
    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    /// The connection.
    fn connection(&self) -> Connection {
        Connection { serial: 0, requests: 0 }
    }
}

/// Not known, as in tests of plugins.
impl Arrival for () {}

/// A client's connection. Each request over HTTP/2 counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its number in this process.
    pub serial: u64,
    /// The number of its requests so far, with this one.
    pub requests: u64,
}

/// A request being processed by a route's plugins.
#[derive(Debug)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r Method,
    /// The normalised path used for routing, before `strip_path`.
    pub path: &'r str,
    /// The raw query, without `?`.
    pub query: Option<&'r str>,
    /// The client's headers, without identity headers.
    pub headers: &'r HeaderMap,
    /// Whether the request was received over HTTP/2.
    pub http2: bool,
    /// Whether the client's connection uses TLS.
    pub tls: bool,
    /// The TCP peer, before any real-ip substitution.
    pub peer: IpAddr,
    /// The client: the peer, or whom a trusted peer names.
    pub client: IpAddr,
    /// Whether the peer is in `trusted_ips`.
    pub peer_trusted: bool,
    /// The host that it names, and the part of its path by which the route was found.
    pub addressed: Addressed<'r>,
    /// The client's certificate, on a connection whose listener requests one.
    pub certificate: Option<&'r ClientCertificate>,
    /// How it reached the gateway.
    pub arrival: &'r dyn Arrival,
    /// The route and service that matched.
    pub target: &'r Target,
    /// The body, if a plugin asked for it.
    pub body: RequestBody,
    /// Changes to the request before it is sent upstream.
    pub edits: Edits,
    /// Changes to the response, from the upstream or the gateway.
    pub response: Vec<HeaderEdit>,
    /// Set by authentication plugins, read by later plugins. `None`: no plugin has
    /// authenticated it; a plugin that needs a consumer then refuses it with 401.
    pub identity: Option<Identity>,
    /// Set if it is decided on cached data while the store is away: for how long no changes were heard.
    pub served_stale: Option<Duration>,
    /// Where plugins note who sent it; `None`: nobody wants to know.
    pub notes: Option<&'r Notes>,
}

impl Request<'_> {
    /// Notes what is known about the sender, if anybody wants to know.
    pub fn note(&self, tell: impl FnOnce(&mut Caller)) {
        if let Some(notes) = self.notes {
            tell(&mut notes.caller());
        }
    }

    /// Tells what a check has found, if an operator has asked what becomes of the token.
    pub fn explain(&self, tell: impl FnOnce(&Explanation)) {
        if let Some(explanation) = self.notes.and_then(Notes::explanation) {
            tell(explanation);
        }
    }

    /// It is decided on data that was current this long ago.
    pub fn serve_stale(&mut self, age: Duration) {
        self.served_stale = Some(self.served_stale.map_or(age, |known| known.max(age)));
    }

    /// The origin that the client used, such as `https://api.example.com`; `None` if the request names no host.
    pub fn origin(&self) -> Option<String> {
        forwarded::origin(self.tls, self.sender(), self.headers, &self.addressed)
    }

    fn sender(&self) -> Sender {
        if self.peer_trusted { Sender::Trusted } else { Sender::Untrusted }
    }

    /// Whether this is a gRPC call: HTTP/2 with `application/grpc` (oauth2.md §4.2).
    pub fn is_grpc(&self) -> bool {
        self.http2 && has_grpc_type(self.headers)
    }
}

/// Whether the content type is one of gRPC's, in any letter case (RFC 9110 §8.3.1).
pub fn has_grpc_type(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = headers.get(http::header::CONTENT_TYPE).map(|value| value.as_bytes().trim_ascii());
    content_type.and_then(|value| value.get(..GRPC.len())).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}
