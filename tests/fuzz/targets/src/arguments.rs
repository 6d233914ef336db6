//! Credentials in headers, queries and bodies: what is hidden cannot be found again.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use tollgate_core::request::{Addressed, Edits, RequestBody, Target};
use tollgate_oauth2::parameters::Parameters;
use tollgate_plugin::Request;
use tollgate_plugin::bearer::{self, Found};
use tollgate_plugin::presented::{CredentialHeader, Hiding};
use uuid::Uuid;

const TARGET: Target = Target { route_id: Uuid::nil(), service_id: None };

fn request<'r>(headers: &'r HeaderMap, query: Option<&'r str>, body: Bytes) -> Request<'r> {
    Request {
        method: &Method::POST,
        path: "/",
        query,
        headers,
        http2: false,
        tls: true,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer_trusted: false,
        addressed: Addressed::default(),
        certificate: None,
        arrival: &(),
        target: &TARGET,
        body: RequestBody::Read(body),
        edits: Edits::default(),
        response: Vec::new(),
        identity: None,
        served_stale: None,
        notes: None,
    }
}

/// The value of `Authorization`.
pub fn authorization(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data.trim_ascii()) else { return };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let header = CredentialHeader::parse("authorization").expect("a header's name");
    let mut request = request(&headers, None, Bytes::new());
    let found = token(&bearer::find(Some(&header), &request));
    if let Some(token) = &found {
        assert!(!token.is_empty() && data.windows(token.len()).any(|window| window == token.as_bytes()), "{token}");
    }
    let hidden = bearer::hide(Some(&header), found.as_deref(), &mut request);
    assert!(hidden == Hiding::Done && (found.is_none() || !request.edits.headers.is_empty()), "{hidden:?}");
}

/// The first byte chooses the content type: a form, JSON, multipart, or the first line. The query precedes the first
/// NUL.
pub fn bodies(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let (query, body) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(0));
    let query = std::str::from_utf8(query).ok().filter(|query| query.bytes().all(|byte| byte.is_ascii_graphic()));
    let content_type = match kind % 3 {
        0 => "application/x-www-form-urlencoded",
        1 => "application/json",
        _ => "multipart/form-data; boundary=b",
    };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    let body = Bytes::copy_from_slice(body.strip_prefix(b"\0").unwrap_or(body));
    let mut first = request(&headers, query, body.clone());
    drop(Parameters::read(&first));
    let found = token(&bearer::find(None, &first));
    if bearer::hide(None, found.as_deref(), &mut first) != Hiding::Done {
        return;
    }
    let query = first.edits.query.clone();
    let query = query.as_deref().or(first.query);
    let second = request(&headers, query, first.edits.body.clone().unwrap_or(body));
    let left = token(&bearer::find(None, &second));
    assert!(found.is_none() || left.is_none(), "{found:?} is hidden, and {left:?} is left");
}

fn token(found: &Found<'_>) -> Option<String> {
    match found {
        Found::Token(token) => Some(token.to_string()),
        _ => None,
    }
}
