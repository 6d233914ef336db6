//! Finding the token of a request (oauth2.md §4.1), and removing it before the request goes upstream
//! (oauth2.md §4.6).
//!
//! The header wins whenever it is present, even empty; then query and body merged, the body winning.
//!
//! A token is hidden wherever this module would look for one: the header in every spelling,
//! `access_token` in query and form, and a body's JSON member or multipart part. A form that cannot
//! be searched is refused. When the token is in the header, JSON and multipart bodies are the
//! application's: those small enough to be searched lose copies of that very token, and nothing else.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, Method};
use serde_json::Value;
use tollgate_core::request::{Request, RequestBody};

use crate::multipart::{self, Extent, Part};
use crate::{arguments, json_object};

const ACCESS_TOKEN: &str = "access_token";

const FORM: &str = "application/x-www-form-urlencoded";

/// The longest body that is searched for a token.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The outcome of looking for a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// It was found.
    Token(Cow<'r, str>),
    /// There is something that cannot be a token, such as bytes that are not UTF-8.
    Unreadable,
    /// There is more than one, so that another reader may take another one.
    Several,
    /// There is none.
    Missing,
    /// The body has to be read first.
    NeedBody,
}

/// The outcome of hiding a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hiding {
    /// The upstream will not see it.
    Done,
    /// The body has to be read first; nothing is hidden yet.
    NeedBody,
    /// The body is too large to be searched.
    TooLarge,
    /// The body is encoded or malformed, so that it cannot be searched.
    Unsearchable,
}

/// What a request has under the name of a header that carries a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented<'r> {
    /// Nothing.
    Nothing,
    /// One value, perhaps empty.
    One(&'r [u8]),
    /// Several, in several headers or in a list: the upstream may take another one than we.
    Several,
}

/// The header that carries a token. Dashes and underscores are the same in its name.
#[derive(Debug, Clone)]
pub struct TokenHeader {
    name: HeaderName,
    /// Whether the name has other spellings, which have to be searched for.
    folds: bool,
}

impl TokenHeader {
    /// The header with this configured name; `None` when it is not a valid header name.
    pub fn parse(configured: &str) -> Option<Self> {
        let name = HeaderName::from_bytes(configured.as_bytes()).ok()?;
        let folds = name.as_str().contains(['-', '_']);
        Some(Self { name, folds })
    }

    /// Its first value in this request.
    pub fn value<'r>(&self, request: &Request<'r>) -> Option<&'r [u8]> {
        if !self.folds {
            return request.headers.get(&self.name).map(http::HeaderValue::as_bytes);
        }
        request.headers.iter().find(|(name, _)| self.is(name)).map(|(_, value)| value.as_bytes())
    }

    /// What a request has under this name.
    pub fn presented<'r>(&self, request: &Request<'r>) -> Presented<'r> {
        let (first, second) = if self.folds {
            let mut values = request.headers.iter().filter(|(name, _)| self.is(name)).map(|(_, value)| value);
            (values.next(), values.next())
        } else {
            let mut values = request.headers.get_all(&self.name).iter();
            (values.next(), values.next())
        };
        match (first.map(http::HeaderValue::as_bytes), second) {
            (None, _) => Presented::Nothing,
            (Some(value), None) if !is_list_of_credentials(value) => Presented::One(value),
            (Some(_), _) => Presented::Several,
        }
    }

    fn is(&self, name: &HeaderName) -> bool {
        let folded = |byte: u8| if byte == b'_' { b'-' } else { byte };
        name.as_str().bytes().map(folded).eq(self.name.as_str().bytes().map(folded))
    }

    /// Hides the header, in every spelling, from the upstream.
    pub fn hide(&self, request: &mut Request<'_>) {
        if !self.folds {
            request.edits.remove(self.name.clone());
            return;
        }
        for name in request.headers.keys().filter(|name| self.is(name)) {
            request.edits.remove(name.clone());
        }
    }
}

/// Looks for the token.
pub fn find<'r>(header: Option<&TokenHeader>, request: &Request<'r>) -> Found<'r> {
    match header.map(|header| header.presented(request)) {
        Some(Presented::One(value)) => return from_header(value),
        Some(Presented::Several) => return Found::Several,
        Some(Presented::Nothing) | None => {}
    }
    let in_body = match (&request.body, body_kind(request)) {
        (_, None) | (RequestBody::TooLarge, _) => Argument::Absent,
        (RequestBody::Unread, Some(_)) => return Found::NeedBody,
        (RequestBody::Read(body), Some(kind)) => from_body(kind, body, request),
    };
    match in_body {
        Argument::Absent => from_pairs(request.query.unwrap_or_default().as_bytes()).into_found(),
        Argument::Text(token) => Argument::Text(Cow::Owned(token.into_owned())).into_found(),
        unusable => Argument::into_found(match unusable {
            Argument::Unreadable => Argument::Unreadable,
            _ => Argument::Unusable,
        }),
    }
}

/// Removes the token from what goes upstream. `token` is what was found, if it can be read. Any other
/// outcome than [`Hiding::Done`] has changed nothing.
pub fn hide(header: Option<&TokenHeader>, token: Option<&str>, request: &mut Request<'_>) -> Hiding {
    let in_header = header.filter(|header| header.value(request).is_some());
    let place = if in_header.is_some() { Place::Header } else { Place::Argument };
    let body = match body_without_token(place, token, request) {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    if let Some(header) = in_header {
        header.hide(request);
    }
    if let Some(query) = request.query.filter(|query| names_token(query.as_bytes())) {
        request.edits.query = Some(arguments::without(query.as_bytes(), ACCESS_TOKEN.as_bytes()));
    }
    if let Some(body) = body {
        request.edits.body = Some(Bytes::from(body));
    }
    Hiding::Done
}

/// Where the token was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the header, where the search ends.
    Header,
    /// In query and body.
    Argument,
}

/// The body to send upstream instead, if the token is in it.
fn body_without_token(place: Place, token: Option<&str>, request: &Request<'_>) -> Result<Option<Vec<u8>>, Hiding> {
    if has_form(request) {
        return form_without_token(request);
    }
    let kind = body_kind(request).filter(|_| place == Place::Argument || is_announced_as_small(request));
    let (kind, body) = match (kind, &request.body) {
        (None, _) => return Ok(None),
        // A token in the query may be in the body as well.
        (Some(_), RequestBody::TooLarge) if place == Place::Argument && token.is_some() => {
            return Err(Hiding::TooLarge);
        }
        (Some(_), RequestBody::TooLarge) => return Ok(None),
        (Some(_), RequestBody::Unread) => return Err(Hiding::NeedBody),
        (Some(kind), RequestBody::Read(body)) => (kind, body),
    };
    // Where the token is in the header, other values are the application's.
    let is_hidden = |value: Option<&str>| place == Place::Argument || (value.is_some() && value == token);
    match kind {
        BodyKind::Form => Ok(None),
        BodyKind::Json => match json_object::members(body) {
            Some(members) => Ok(json_without_token(&members, is_hidden)),
            None if place == Place::Argument && token.is_some() && !body.is_empty() => Err(Hiding::Unsearchable),
            None => Ok(None),
        },
        BodyKind::Multipart => {
            multipart_without_token(place, body, content_type(request).unwrap_or_default(), is_hidden)
        }
    }
}

fn form_without_token(request: &Request<'_>) -> Result<Option<Vec<u8>>, Hiding> {
    let body = match &request.body {
        RequestBody::Unread => return Err(Hiding::NeedBody),
        RequestBody::TooLarge => return Err(Hiding::TooLarge),
        RequestBody::Read(body) => body,
    };
    let is_plain = |encoding: &http::HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !body.is_empty() && !request.headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Hiding::Unsearchable);
    }
    Ok(names_token(body).then(|| arguments::without(body, ACCESS_TOKEN.as_bytes()).into_bytes()))
}

fn json_without_token(
    members: &[json_object::Member<'_>],
    is_hidden: impl Fn(Option<&str>) -> bool,
) -> Option<Vec<u8>> {
    let is_token = |member: &json_object::Member<'_>| member.name == ACCESS_TOKEN && is_hidden(member.value.as_str());
    if !members.iter().any(is_token) {
        return None;
    }
    Some(json_object::write(members.iter().filter(|member| !is_token(member))))
}

fn multipart_without_token(
    place: Place,
    body: &Bytes,
    content_type: &str,
    is_hidden: impl Fn(Option<&str>) -> bool,
) -> Result<Option<Vec<u8>>, Hiding> {
    let is_token =
        |part: &Part| part.name.as_deref() == Some(ACCESS_TOKEN) && is_hidden(std::str::from_utf8(&part.value).ok());
    let (parts, extent) = multipart::read(content_type, body);
    if parts.iter().any(is_token) {
        return multipart::without(content_type, body, is_token).map(Some).ok_or(Hiding::Unsearchable);
    }
    let is_searched = extent == Extent::Whole || place == Place::Header || body.is_empty();
    if is_searched { Ok(None) } else { Err(Hiding::Unsearchable) }
}

fn names_token(pairs: &[u8]) -> bool {
    arguments::parse(pairs).any(|argument| *argument.key == *ACCESS_TOKEN.as_bytes())
}

/// Whether a value is a list, as intermediaries join headers of one name (RFC 9110 §5.3). A token or a
/// secret of ours has no comma; parameters of other schemes may be separated by some.
fn is_list_of_credentials(value: &[u8]) -> bool {
    const SCHEMES: [&[u8]; 3] = [b"bearer", b"token", b"basic"];
    let has_scheme = |part: &[u8]| {
        let mut words = part.trim_ascii().split(u8::is_ascii_whitespace);
        words.next().is_some_and(|word| SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme)))
    };
    value.contains(&b',') && value.split(|byte| *byte == b',').any(has_scheme)
}

fn from_header<'r>(value: &'r [u8]) -> Found<'r> {
    let value = value.trim_ascii();
    let Ok(text) = std::str::from_utf8(value) else { return Found::Unreadable };
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Found::Missing,
        (Some(scheme), Some(token), None)
            if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") =>
        {
            Found::Token(Cow::Borrowed(token))
        }
        _ => Found::Token(Cow::Borrowed(text)),
    }
}

/// The argument `access_token` in query or body.
enum Argument<'a> {
    Absent,
    Text(Cow<'a, str>),
    Unreadable,
    /// Repeated, or not a string.
    Unusable,
}

impl<'a> Argument<'a> {
    fn into_found(self) -> Found<'a> {
        match self {
            Self::Text(token) if token.is_empty() => Found::Missing,
            Self::Text(token) => Found::Token(token),
            Self::Unreadable => Found::Unreadable,
            Self::Absent | Self::Unusable => Found::Missing,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyKind {
    Form,
    Json,
    Multipart,
}

fn body_kind(request: &Request<'_>) -> Option<BodyKind> {
    if ![Method::POST, Method::PUT, Method::PATCH].contains(request.method) {
        return None;
    }
    let content_type = content_type(request)?;
    let is = |kind: &str| content_type.get(..kind.len()).is_some_and(|head| head.eq_ignore_ascii_case(kind));
    if is(FORM) {
        Some(BodyKind::Form)
    } else if is("application/json") {
        Some(BodyKind::Json)
    } else if is("multipart/form-data") {
        Some(BodyKind::Multipart)
    } else {
        None
    }
}

/// Covers more requests than those whose form is searched for a token: however a form is labelled and
/// sent, the upstream must not find the token in it (oauth2.md §4.6).
fn has_form(request: &Request<'_>) -> bool {
    request.headers.get_all(CONTENT_TYPE).iter().any(|content_type| {
        let mut kinds = content_type.as_bytes().windows(FORM.len());
        kinds.any(|kind| kind.eq_ignore_ascii_case(FORM.as_bytes()))
    })
}

/// Whether the body, by its `Content-Length`, is small enough to be read and sent on in any case.
fn is_announced_as_small(request: &Request<'_>) -> bool {
    let length = request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length <= BODY_LIMIT)
}

fn content_type<'r>(request: &Request<'r>) -> Option<&'r str> {
    request.headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn from_body<'b>(kind: BodyKind, body: &'b Bytes, request: &Request<'_>) -> Argument<'b> {
    match kind {
        BodyKind::Form => from_pairs(body),
        BodyKind::Json => from_json(body),
        BodyKind::Multipart => from_multipart(body, content_type(request).unwrap_or_default()),
    }
}

fn from_json(body: &[u8]) -> Argument<'static> {
    let members = json_object::members(body).unwrap_or_default();
    let mut tokens = members.into_iter().filter(|member| member.name == ACCESS_TOKEN);
    match (tokens.next().map(|member| member.value), tokens.next()) {
        (None, _) => Argument::Absent,
        (Some(Value::String(token)), None) => Argument::Text(Cow::Owned(token)),
        _ => Argument::Unusable,
    }
}

fn from_pairs(pairs: &[u8]) -> Argument<'_> {
    let arguments = arguments::parse(pairs).take(arguments::MAX_READ);
    let mut tokens = arguments.filter(|argument| *argument.key == *ACCESS_TOKEN.as_bytes());
    match (tokens.next().map(|argument| argument.value), tokens.next()) {
        (None, _) => Argument::Absent,
        (Some(Some(value)), None) => readable(value),
        // Without `=` the value is `true`, which is not a string; repeated, it is a list.
        _ => Argument::Unusable,
    }
}

fn from_multipart(body: &Bytes, content_type: &str) -> Argument<'static> {
    let (parts, _) = multipart::read(content_type, body);
    let mut tokens = parts.into_iter().filter(|part| part.name.as_deref() == Some(ACCESS_TOKEN));
    match (tokens.next(), tokens.next()) {
        (None, _) => Argument::Absent,
        (Some(token), None) => readable(Cow::Owned(token.value.to_vec())),
        _ => Argument::Unusable,
    }
}

fn readable(value: Cow<'_, [u8]>) -> Argument<'_> {
    match value {
        Cow::Borrowed(value) => {
            std::str::from_utf8(value).map_or(Argument::Unreadable, |text| Argument::Text(text.into()))
        }
        Cow::Owned(value) => String::from_utf8(value).map_or(Argument::Unreadable, |text| Argument::Text(text.into())),
    }
}
