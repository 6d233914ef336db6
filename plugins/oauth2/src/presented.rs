//! Where a request carries its token (contract oauth2.md §4.1), and taking it out again
//! before the request goes upstream (§4.6).
//!
//! The header wins whenever it is there, even empty; then query and body merged, the body winning.

use std::borrow::Cow;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderName, Method};
use serde_json::Value;
use tollgate_core::request::{Request, RequestBody};

use crate::arguments;

const ACCESS_TOKEN: &str = "access_token";

const FORM: &str = "application/x-www-form-urlencoded";

/// The most of a body that is read to look for a token.
pub const BODY_LIMIT: usize = 64 * 1024;

/// How a token was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the header, after `Bearer` or `Token`.
    Scheme,
    /// In the header, as its whole value.
    Raw,
    /// In query or body.
    Argument,
}

/// The outcome of looking for a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// Here it is. Bytes, because a client may send anything.
    Token(Cow<'r, str>, Place),
    /// Something that cannot be a token, such as bytes that are not UTF-8.
    Unreadable(Place),
    /// More than one, so that another reader may find another one.
    Several,
    /// There is none.
    Missing,
    /// The body has to be read to tell.
    NeedBody,
}

/// What a request has under the name of a header that carries a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented<'r> {
    /// Nothing.
    Nothing,
    /// One value, perhaps empty.
    One(&'r [u8]),
    /// Several, in several headers or in a list: whoever is behind us may believe another one than we.
    Several,
}

/// The header a plugin instance looks into. Dashes and underscores are the same in it.
#[derive(Debug, Clone)]
pub struct TokenHeader {
    name: HeaderName,
    /// Whether other spellings of the name exist that have to be searched for.
    folds: bool,
}

impl TokenHeader {
    /// The header of this configured name; `None` when no header can be called that.
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

    /// Keeps the header, in every spelling, from the upstream.
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

/// Whether the token's removal needs a body that was not read yet.
pub fn hiding_needs_body(place: Place, request: &Request<'_>) -> bool {
    place != Place::Scheme && request.body == RequestBody::Unread && has_form_to_hide(request)
}

/// Takes the token out of what goes upstream. Call it once a request.
pub fn hide(header: Option<&TokenHeader>, place: Place, request: &mut Request<'_>) {
    if let (Place::Scheme, Some(header)) = (place, header) {
        return header.hide(request);
    }
    if let Some(query) = request.query.filter(|query| names_token(query.as_bytes())) {
        request.edits.query = Some(arguments::without(query.as_bytes(), ACCESS_TOKEN.as_bytes()));
    }
    if has_form_to_hide(request)
        && let RequestBody::Read(body) = &request.body
        && names_token(body)
    {
        request.edits.body = Some(Bytes::from(arguments::without(body, ACCESS_TOKEN.as_bytes())));
    }
}

fn names_token(pairs: &[u8]) -> bool {
    arguments::parse(pairs).any(|argument| *argument.key == *ACCESS_TOKEN.as_bytes())
}

/// Whether a value is several in one, as intermediaries join headers of one name (RFC 9110 §5.3). A
/// token or a secret of ours has no comma; parameters of other schemes may be separated by some.
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
    let Ok(text) = std::str::from_utf8(value) else { return Found::Unreadable(Place::Raw) };
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Found::Missing,
        (Some(scheme), Some(token), None)
            if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") =>
        {
            Found::Token(Cow::Borrowed(token), Place::Scheme)
        }
        _ => Found::Token(Cow::Borrowed(text), Place::Raw),
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
            Self::Text(token) => Found::Token(token, Place::Argument),
            Self::Unreadable => Found::Unreadable(Place::Argument),
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

/// More requests than those whose form is searched: whatever a form may be called and however it is
/// sent, the upstream is not to find the token in it (contract oauth2.md §4.6).
fn has_form_to_hide(request: &Request<'_>) -> bool {
    let is_form = |content_type: &str| {
        let mut kinds = content_type.as_bytes().windows(FORM.len());
        kinds.any(|kind| kind.eq_ignore_ascii_case(FORM.as_bytes()))
    };
    request.method != Method::GET && content_type(request).is_some_and(is_form)
}

fn content_type<'r>(request: &Request<'r>) -> Option<&'r str> {
    request.headers.get(http::header::CONTENT_TYPE)?.to_str().ok()
}

fn from_body<'b>(kind: BodyKind, body: &'b Bytes, request: &Request<'_>) -> Argument<'b> {
    match kind {
        BodyKind::Form => from_pairs(body),
        BodyKind::Json => match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(mut members)) => match members.remove(ACCESS_TOKEN) {
                None => Argument::Absent,
                Some(Value::String(token)) => Argument::Text(Cow::Owned(token)),
                Some(_) => Argument::Unusable,
            },
            _ => Argument::Absent,
        },
        BodyKind::Multipart => from_multipart(body, content_type(request).unwrap_or_default()),
    }
}

fn from_pairs(pairs: &[u8]) -> Argument<'_> {
    let mut tokens = arguments::parse(pairs).filter(|argument| *argument.key == *ACCESS_TOKEN.as_bytes());
    match (tokens.next().map(|argument| argument.value), tokens.next()) {
        (None, _) => Argument::Absent,
        (Some(Some(value)), None) => readable(value),
        // Without `=` it is the value `true`, which is not a string; repeated, it is a list.
        _ => Argument::Unusable,
    }
}

fn from_multipart(body: &Bytes, content_type: &str) -> Argument<'static> {
    let Ok(boundary) = multer::parse_boundary(content_type) else { return Argument::Absent };
    let whole = futures::stream::iter([Ok::<_, std::convert::Infallible>(body.clone())]);
    let parts = async move {
        let mut parts = multer::Multipart::new(whole, boundary);
        let mut token = Argument::Absent;
        while let Ok(Some(part)) = parts.next_field().await {
            if part.name() == Some(ACCESS_TOKEN) {
                let Ok(value) = part.bytes().await else { break };
                token = match token {
                    Argument::Absent => readable(Cow::Owned(value.to_vec())),
                    _ => Argument::Unusable,
                };
            }
        }
        token
    };
    // The whole body is there, so nothing in it has to be waited for.
    parts.now_or_never().unwrap_or(Argument::Absent)
}

fn readable(value: Cow<'_, [u8]>) -> Argument<'_> {
    match value {
        Cow::Borrowed(value) => {
            std::str::from_utf8(value).map_or(Argument::Unreadable, |text| Argument::Text(text.into()))
        }
        Cow::Owned(value) => String::from_utf8(value).map_or(Argument::Unreadable, |text| Argument::Text(text.into())),
    }
}
