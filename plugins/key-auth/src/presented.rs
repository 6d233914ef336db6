//! Finding the key of a request, and hiding it from the upstream.
//!
//! 1. For each configured name in turn: the header of that name, then the query, then the body, as far as the
//!    instance searches there. A place that has something under the name ends the search for that name.
//! 2. The first text ends the search, even an empty one, which is not a key. Several values are refused: the
//!    upstream might use a different one.
//!
//! A key is hidden under every configured name, wherever one may be: in header and query always, in the body if
//! the instance searches there. A body that cannot be searched is refused, as oauth2.md §4.6 requires for tokens.

use std::borrow::Cow;

use bytes::Bytes;
use tollgate_plugin::Request;
use tollgate_plugin::presented::{self, Argument, BodyKind, CredentialHeader, Hiding, Order, Presented, Search};

/// A name under which keys are presented.
#[derive(Debug, Clone)]
pub struct Name {
    /// The name in query and body, where letter case matters.
    pub argument: Box<str>,
    /// The header with this name.
    pub header: CredentialHeader,
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.argument
    }
}

/// The places where keys are looked for.
#[derive(Debug, Clone)]
pub struct Places {
    /// The key names.
    pub names: Vec<Name>,
    /// `key_in_header`.
    pub in_header: bool,
    /// `key_in_query`.
    pub in_query: bool,
    /// `key_in_body`.
    pub in_body: bool,
}

/// The kind of place that a key was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A header.
    Header,
    /// Query or body.
    Argument,
}

/// The outcome of looking for a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// A key was found.
    Key(Cow<'r, str>, Place),
    /// There is something that cannot be a key: bytes that are not UTF-8.
    Unreadable,
    /// There are several keys.
    Several,
    /// There is no key.
    Missing,
    /// The body has to be read first.
    NeedBody,
}

/// Looks for the key.
pub fn find<'r>(places: &Places, request: &Request<'r>) -> Found<'r> {
    for name in &places.names {
        let Some((argument, place)) = under(name, places, request) else { return Found::NeedBody };
        return match argument {
            // A number or `?apikey` without `=` is not a key; another name may have one.
            Argument::Absent | Argument::Other => continue,
            Argument::Text(key) if key.is_empty() => Found::Missing,
            Argument::Text(key) => Found::Key(key, place),
            Argument::Unreadable => Found::Unreadable,
            Argument::Several => Found::Several,
        };
    }
    Found::Missing
}

/// What is presented under one name; `None` when the body has to be read first.
fn under<'r>(name: &Name, places: &Places, request: &Request<'r>) -> Option<(Argument<'r>, Place)> {
    if places.in_header {
        match name.header.presented(request) {
            Presented::Nothing => {}
            Presented::Several => return Some((Argument::Several, Place::Header)),
            Presented::One(value) => {
                let text = std::str::from_utf8(value).map(|text| Argument::Text(Cow::Borrowed(text)));
                return Some((text.unwrap_or(Argument::Unreadable), Place::Header));
            }
        }
    }
    if places.in_query {
        let argument = presented::in_query(&name.argument, request);
        if argument != Argument::Absent {
            return Some((argument, Place::Argument));
        }
    }
    let kind = BodyKind::of(request).filter(|_| places.in_body);
    let in_body = match kind {
        None => Argument::Absent,
        Some(kind) => presented::in_body(&name.argument, kind, request)?,
    };
    Some((in_body.into_owned(), Place::Argument))
}

/// Removes keys from what goes upstream. Any other outcome than [`Hiding::Done`] has changed nothing.
pub fn hide(places: &Places, found: &Found<'_>, request: &mut Request<'_>) -> Hiding {
    let search = match found {
        Found::Key(_, Place::Header) => Search::BesideHeader,
        Found::Key(_, Place::Argument) => Search::Thorough,
        _ => Search::Cursory,
    };
    let body = if places.in_body {
        presented::body_without(&places.names, BodyKind::of(request), search, |_| true, request)
    } else {
        Ok(None)
    };
    let body = match body {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    places.names.iter().for_each(|name| name.header.hide(request));
    presented::hide_in_query(&places.names, Order::Kept, request);
    if let Some(body) = body {
        request.edits.body = Some(Bytes::from(body));
    }
    Hiding::Done
}
