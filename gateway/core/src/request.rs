//! A request as a plugin sees it: checked, routed, free of identity headers of the client's.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;
use triomphe::ThinArc;
use uuid::Uuid;

/// The request's body as far as the gateway has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody {
    /// Not read. Return [`crate::plugin::Verdict::NeedBody`] to have it read.
    Unread,
    /// The whole body.
    Read(Bytes),
    /// There is more than the plugin asked for, or more than can be read and still be forwarded.
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

/// A header that a message is to have or not to have when it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Set, replacing every value of that name.
    Set(HeaderName, HeaderValue),
    /// Add a value beside those that are there.
    Append(HeaderName, HeaderValue),
    /// Remove.
    Remove(HeaderName),
    /// Set and remove several, as was rendered beforehand.
    Apply(HeaderBlock),
}

/// The name of a header in a [`HeaderBlock`], and how it is spelled.
#[derive(Debug, PartialEq, Eq)]
pub struct BlockName {
    name: HeaderName,
    spelled: &'static str,
}

impl BlockName {
    /// `name` is in lower case, and `spelled` is the same name.
    pub const fn new(name: &'static str, spelled: &'static str) -> Self {
        Self { name: HeaderName::from_static(name), spelled }
    }
}

/// Several headers rendered once, for many requests: lines as they go over the wire.
///
/// Cheap to clone, and in one piece of memory: there may be as many as there are credentials, and a
/// request that reads one waits for the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBlock(ThinArc<&'static [BlockName], u8>);

impl HeaderBlock {
    /// Each of the names is set to the value at its place, or removed where there is none.
    pub fn new<const COUNT: usize>(names: &'static [BlockName; COUNT], values: [Option<&HeaderValue>; COUNT]) -> Self {
        let mut lines = Vec::new();
        for (name, value) in names.iter().zip(values) {
            if let Some(value) = value {
                for part in [name.spelled.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    lines.extend_from_slice(part);
                }
            }
        }
        Self(ThinArc::from_header_and_slice(names, &lines))
    }

    /// Every name that is set or removed.
    pub fn names(&self) -> impl Iterator<Item = &'static HeaderName> {
        self.0.header.header.iter().map(|name| &name.name)
    }

    /// The headers that are set, each with its line's end.
    pub fn lines(&self) -> &[u8] {
        &self.0.slice
    }
}

/// What plugins changed in the request that goes upstream.
#[derive(Debug, Default)]
pub struct Edits {
    /// Applied in order, after hop-by-hop headers are gone.
    pub headers: SmallVec<[HeaderEdit; 8]>,
    /// Replaces the query; `Some("")` removes it.
    pub query: Option<String>,
    /// Replaces the body; only after it was read.
    pub body: Option<Bytes>,
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

    /// The same, for a block that is the caller's own.
    pub fn apply_owned(&mut self, block: HeaderBlock) {
        self.headers.push(HeaderEdit::Apply(block));
    }

    /// Removes a header of the upstream request.
    pub fn remove(&mut self, name: HeaderName) {
        self.headers.push(HeaderEdit::Remove(name));
    }
}

/// Who the request is from, as the authentication plugins found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The consumer's id.
    pub consumer: Uuid,
    /// The id of the credential that was presented; `None` for the anonymous consumer.
    pub credential: Option<Uuid>,
}

/// One request on its way through a route's plugins.
#[derive(Debug)]
pub struct Request<'r> {
    /// The method.
    pub method: &'r Method,
    /// The path as routing saw it: normalised once, before `strip_path`.
    pub path: &'r str,
    /// The raw query, without `?`.
    pub query: Option<&'r str>,
    /// The client's headers, identity headers removed.
    pub headers: &'r HeaderMap,
    /// Whether the request came over HTTP/2.
    pub http2: bool,
    /// Whether the client's connection to us is TLS.
    pub tls: bool,
    /// The TCP peer, before any real-ip substitution.
    pub peer: IpAddr,
    /// Whether the peer is in `trusted_ips`.
    pub peer_trusted: bool,
    /// Where it matched.
    pub target: &'r Target,
    /// The body, if a plugin asked for it.
    pub body: RequestBody,
    /// What goes upstream differently from how it came.
    pub edits: Edits,
    /// Changes to the response, from the upstream or of the gateway.
    pub response: Vec<HeaderEdit>,
    /// Set by the authentication plugins, read by those behind them.
    pub identity: Option<Identity>,
}

impl Request<'_> {
    /// A gRPC call: HTTP/2 with `application/grpc` (oauth2.md §4.2).
    pub fn is_grpc(&self) -> bool {
        self.http2 && has_grpc_type(self.headers)
    }
}

/// Whether the content type is one of gRPC's. Letter case does not count in it (RFC 9110 §8.3.1).
pub fn has_grpc_type(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = headers.get(http::header::CONTENT_TYPE).map(|value| value.as_bytes().trim_ascii());
    content_type.and_then(|value| value.get(..GRPC.len())).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_the_lines_of_what_is_set_and_the_names_of_all() {
        static NAMES: [BlockName; 3] =
            [BlockName::new("x-name", "X-Name"), BlockName::new("x-other", "X-Other"), BlockName::new("x-id", "X-ID")];
        let (bob, id) = (HeaderValue::from_static("bob"), HeaderValue::from_static("1"));
        let block = HeaderBlock::new(&NAMES, [Some(&bob), None, Some(&id)]);
        assert_eq!(block.lines(), b"X-Name: bob\r\nX-ID: 1\r\n");
        assert_eq!(block.names().collect::<Vec<_>>(), ["x-name", "x-other", "x-id"]);
    }
}
