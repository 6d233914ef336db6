//! Where a request presents a credential: under a name in a header, in the query or in the body (form, JSON
//! object, multipart), and how it is removed before the request goes upstream.
//!
//! The plugin decides on the precedence of the places and on what is a credential in them. A place that cannot
//! be searched is distinguished from an empty one, so that nothing is hidden only partially.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use tollgate_core::request::{Request, RequestBody};

use crate::multipart::{self, Extent, Part};
use crate::{arguments, json_object};

const FORM: &str = "application/x-www-form-urlencoded";

/// The size of the largest body that is searched for a credential.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The outcome of hiding a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hiding {
    /// The upstream does not see it.
    Done,
    /// The body has to be read first; nothing is hidden yet.
    NeedBody,
    /// The body is too large to be searched.
    TooLarge,
    /// The body is encoded or malformed and cannot be searched.
    Unsearchable,
}

/// What a request has in a header that carries a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented<'r> {
    /// Nothing.
    Nothing,
    /// One value, possibly empty.
    One(&'r [u8]),
    /// Several headers: the upstream might use a different one.
    Several,
}

/// The header that carries a credential. Dashes and underscores are equivalent in its name.
#[derive(Debug, Clone)]
pub struct CredentialHeader {
    name: HeaderName,
    /// Whether the name has other spellings, which have to be searched too.
    folds: bool,
}

impl CredentialHeader {
    /// The header with this configured name; `None` when it is not a valid header name.
    pub fn parse(configured: &str) -> Option<Self> {
        let name = HeaderName::from_bytes(configured.as_bytes()).ok()?;
        let folds = name.as_str().contains(['-', '_']);
        Some(Self { name, folds })
    }

    /// Its name, as configured.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The first value in this request.
    pub fn value<'r>(&self, request: &Request<'r>) -> Option<&'r [u8]> {
        if !self.folds {
            return request.headers.get(&self.name).map(HeaderValue::as_bytes);
        }
        request.headers.iter().find(|(name, _)| self.is(name)).map(|(_, value)| value.as_bytes())
    }

    /// The value that all of its lines in this request have.
    pub fn common_value<'r>(&self, request: &Request<'r>) -> Option<&'r [u8]> {
        let mut values = request.headers.iter().filter(|(name, _)| self.is(name)).map(|(_, value)| value.as_bytes());
        let first = values.next()?;
        values.all(|other| other == first).then_some(first)
    }

    /// The values in this request.
    pub fn presented<'r>(&self, request: &Request<'r>) -> Presented<'r> {
        let (first, second) = if self.folds {
            let mut values = request.headers.iter().filter(|(name, _)| self.is(name)).map(|(_, value)| value);
            (values.next(), values.next())
        } else {
            let mut values = request.headers.get_all(&self.name).iter();
            (values.next(), values.next())
        };
        match (first.map(HeaderValue::as_bytes), second) {
            (None, _) => Presented::Nothing,
            (Some(value), None) => Presented::One(value),
            (Some(_), Some(_)) => Presented::Several,
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

/// The argument with a given name in query or body.
#[derive(Debug, PartialEq, Eq)]
pub enum Argument<'a> {
    /// There is none.
    Absent,
    /// Text, possibly empty.
    Text(Cow<'a, str>),
    /// Bytes that are not UTF-8.
    Unreadable,
    /// Repeated, or a JSON list or object.
    Several,
    /// Not text: another JSON value, or without `=`.
    Other,
}

impl Argument<'_> {
    /// The same, independent of what it was read from.
    pub fn into_owned(self) -> Argument<'static> {
        match self {
            Self::Text(text) => Argument::Text(Cow::Owned(text.into_owned())),
            Self::Absent => Argument::Absent,
            Self::Unreadable => Argument::Unreadable,
            Self::Several => Argument::Several,
            Self::Other => Argument::Other,
        }
    }
}

/// The argument of this name in the query.
pub fn in_query<'r>(name: &str, request: &Request<'r>) -> Argument<'r> {
    from_pairs(name, request.query.unwrap_or_default().as_bytes())
}

/// The argument with this name in a body of this kind; `None` when the body has to be read first. Nothing is
/// found in a body that is too large.
pub fn in_body<'b>(name: &str, kind: BodyKind, request: &'b Request<'_>) -> Option<Argument<'b>> {
    let body = match &request.body {
        RequestBody::Unread => return None,
        RequestBody::TooLarge => return Some(Argument::Absent),
        RequestBody::Read(body) => body,
    };
    Some(match kind {
        BodyKind::Form => from_pairs(name, body),
        BodyKind::Json => from_json(name, body),
        BodyKind::Multipart => from_multipart(name, body, content_type(request).unwrap_or_default()),
    })
}

/// The order of the arguments in a query after some were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Sorted by name.
    Sorted,
    /// As received.
    Kept,
}

/// Removes the arguments with these names from the query that goes upstream. A query without them is unchanged.
pub fn hide_in_query(names: &[impl AsRef<str>], order: Order, request: &mut Request<'_>) {
    let Some(query) = request.edits.query.as_deref().or(request.query).map(str::as_bytes) else { return };
    if !has_argument(names, query) {
        return;
    }
    let is_hidden = |name: &[u8]| is_one_of(names, name);
    request.edits.query = Some(match order {
        Order::Sorted => arguments::without(query, is_hidden),
        Order::Kept => arguments::without_in_order(query, is_hidden),
    });
}

/// How a body is searched for what the upstream must not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// The credential is in a header. Forms are searched. JSON and multipart bodies belong to the application: they
    /// are searched only if they are declared as small and can be read.
    BesideHeader,
    /// The query or the body contains a credential: a body that cannot be searched is refused.
    Thorough,
    /// No possible credential was found: a form or multipart body that cannot be searched is refused.
    Cursory,
}

/// The body to send upstream instead, if something under these names in it `is_hidden`. In a form all
/// values are. `kind` is how the plugin reads the body; a form is searched whatever its content type.
///
/// # Errors
/// The body has to be read first, or cannot be searched.
pub fn body_without(
    names: &[impl AsRef<str>],
    kind: Option<BodyKind>,
    search: Search,
    is_hidden: impl Fn(Option<&str>) -> bool,
    request: &Request<'_>,
) -> Result<Option<Vec<u8>>, Hiding> {
    if has_form(request) {
        return form_without(names, request);
    }
    let kind = kind.filter(|_| search != Search::BesideHeader || is_announced_as_small(request));
    let (kind, body) = match (kind, &request.body) {
        (None, _) => return Ok(None),
        // A credential in the query may be in the body as well.
        (Some(_), RequestBody::TooLarge) if search == Search::Thorough => return Err(Hiding::TooLarge),
        (Some(_), RequestBody::TooLarge) => return Ok(None),
        (Some(_), RequestBody::Unread) => return Err(Hiding::NeedBody),
        (Some(kind), RequestBody::Read(body)) => (kind, request.edits.body.as_ref().unwrap_or(body)),
    };
    match kind {
        BodyKind::Form => Ok(None),
        BodyKind::Json => match json_object::members(body) {
            Some(members) => Ok(json_without(names, &members, is_hidden)),
            None if search == Search::Thorough && !body.is_empty() => Err(Hiding::Unsearchable),
            None => Ok(None),
        },
        BodyKind::Multipart => {
            multipart_without(names, search, body, content_type(request).unwrap_or_default(), is_hidden)
        }
    }
}

fn form_without(names: &[impl AsRef<str>], request: &Request<'_>) -> Result<Option<Vec<u8>>, Hiding> {
    let body = match &request.body {
        RequestBody::Unread => return Err(Hiding::NeedBody),
        RequestBody::TooLarge => return Err(Hiding::TooLarge),
        RequestBody::Read(body) => request.edits.body.as_ref().unwrap_or(body),
    };
    let is_plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !body.is_empty() && !request.headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Hiding::Unsearchable);
    }
    let without = || arguments::without(body, |name| is_one_of(names, name)).into_bytes();
    Ok(has_argument(names, body).then(without))
}

fn json_without(
    names: &[impl AsRef<str>],
    members: &[json_object::Member<'_>],
    is_hidden: impl Fn(Option<&str>) -> bool,
) -> Option<Vec<u8>> {
    let is_removed =
        |member: &json_object::Member<'_>| is_one_of(names, member.name.as_bytes()) && is_hidden(member.value.as_str());
    if !members.iter().any(is_removed) {
        return None;
    }
    Some(json_object::write(members.iter().filter(|member| !is_removed(member))))
}

fn multipart_without(
    names: &[impl AsRef<str>],
    search: Search,
    body: &Bytes,
    content_type: &str,
    is_hidden: impl Fn(Option<&str>) -> bool,
) -> Result<Option<Vec<u8>>, Hiding> {
    let is_removed = |part: &Part| {
        let is_named = part.name.as_deref().is_some_and(|name| is_one_of(names, name.as_bytes()));
        is_named && is_hidden(std::str::from_utf8(&part.value).ok())
    };
    let (parts, extent) = multipart::read(content_type, body);
    if parts.iter().any(is_removed) {
        return multipart::without(content_type, body, is_removed).map(Some).ok_or(Hiding::Unsearchable);
    }
    let is_searched = extent == Extent::Whole || search == Search::BesideHeader || body.is_empty();
    if is_searched { Ok(None) } else { Err(Hiding::Unsearchable) }
}

fn has_argument(names: &[impl AsRef<str>], pairs: &[u8]) -> bool {
    arguments::parse(pairs).any(|argument| is_one_of(names, &argument.key))
}

fn is_one_of(names: &[impl AsRef<str>], name: &[u8]) -> bool {
    names.iter().any(|known| known.as_ref().as_bytes() == name)
}

/// A kind of body that has arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/json`.
    Json,
    /// `multipart/form-data`.
    Multipart,
}

impl BodyKind {
    /// The kind for the request's content type; `None` for all other types.
    pub fn of(request: &Request<'_>) -> Option<Self> {
        let content_type = content_type(request)?;
        let is = |kind: &str| content_type.get(..kind.len()).is_some_and(|head| head.eq_ignore_ascii_case(kind));
        if is(FORM) {
            Some(Self::Form)
        } else if is("application/json") {
            Some(Self::Json)
        } else if is("multipart/form-data") {
            Some(Self::Multipart)
        } else {
            None
        }
    }
}

/// Covers more requests than those whose form is searched for a credential: however a form is labelled and
/// sent, the upstream must not find the credential in it (oauth2.md §4.6).
fn has_form(request: &Request<'_>) -> bool {
    request.headers.get_all(CONTENT_TYPE).iter().any(|content_type| {
        let mut kinds = content_type.as_bytes().windows(FORM.len());
        kinds.any(|kind| kind.eq_ignore_ascii_case(FORM.as_bytes()))
    })
}

/// Whether the body, according to `Content-Length`, is small enough to be read and sent on in any case.
fn is_announced_as_small(request: &Request<'_>) -> bool {
    let length = request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length <= BODY_LIMIT)
}

fn content_type<'r>(request: &Request<'r>) -> Option<&'r str> {
    request.headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn from_json(name: &str, body: &[u8]) -> Argument<'static> {
    let members = json_object::members(body).unwrap_or_default();
    let mut values = members.into_iter().filter(|member| member.name == name);
    match (values.next().map(|member| member.value), values.next()) {
        (None, _) => Argument::Absent,
        (_, Some(_)) | (Some(Value::Array(_) | Value::Object(_)), None) => Argument::Several,
        (Some(Value::String(text)), None) => Argument::Text(Cow::Owned(text)),
        _ => Argument::Other,
    }
}

fn from_pairs<'p>(name: &str, pairs: &'p [u8]) -> Argument<'p> {
    let arguments = arguments::parse(pairs).take(arguments::MAX_READ);
    let mut values = arguments.filter(|argument| *argument.key == *name.as_bytes());
    match (values.next().map(|argument| argument.value), values.next()) {
        (None, _) => Argument::Absent,
        (_, Some(_)) => Argument::Several,
        (Some(Some(value)), None) => readable(value),
        // Without `=` the value is `true`, which is not a string.
        (Some(None), None) => Argument::Other,
    }
}

fn from_multipart(name: &str, body: &Bytes, content_type: &str) -> Argument<'static> {
    let (parts, _) = multipart::read(content_type, body);
    let mut values = parts.into_iter().filter(|part| part.name.as_deref() == Some(name));
    match (values.next(), values.next()) {
        (None, _) => Argument::Absent,
        (Some(part), None) => readable(Cow::Owned(part.value.to_vec())),
        (Some(_), Some(_)) => Argument::Several,
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
