//! Browser sessions of a site, identified by an unguessable cookie.
//!
//! Invariant: a session's id is 122 random bits, is never in a URL, and is replaced when the
//! browser's user changes. Sessions live in memory, at most [`CAPACITY`] of them: the oldest is
//! evicted.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use uuid::Uuid;

const CAPACITY: usize = 1000;

/// Whether the cookie may be sent over plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// The site is served over TLS, and its cookie is sent only over TLS.
    Tls,
    /// The site is served on a loopback address without TLS.
    Loopback,
}

/// One browser's session.
#[derive(Clone)]
pub(crate) struct Session<T> {
    /// The cookie's value.
    pub(crate) id: String,
    /// The token in every form of this session, unknown to other sites.
    pub(crate) form_token: String,
    /// The site's data for this browser.
    pub(crate) value: T,
}

/// All sessions of a site.
pub(crate) struct Sessions<T> {
    cookie: &'static str,
    transport: Transport,
    held: Mutex<Held<T>>,
}

struct Held<T> {
    by_id: HashMap<String, Session<T>>,
    by_age: VecDeque<String>,
}

impl<T: Clone> Sessions<T> {
    /// An empty store whose cookie is named `cookie`.
    pub(crate) fn new(cookie: &'static str, transport: Transport) -> Self {
        Self { cookie, transport, held: Mutex::new(Held { by_id: HashMap::new(), by_age: VecDeque::new() }) }
    }

    /// The session of the browser that sent these headers.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Option<Session<T>> {
        let id = cookie(headers, self.cookie)?;
        self.lock().by_id.get(id).cloned()
    }

    /// Starts a session that replaces `old`: a session id from before a login is invalid after it.
    pub(crate) fn start(&self, old: Option<&Session<T>>, value: T) -> Session<T> {
        let session = Session { id: unguessable(), form_token: unguessable(), value };
        let mut held = self.lock();
        if let Some(old) = old {
            held.by_id.remove(&old.id);
            held.by_age.retain(|id| *id != old.id);
        }
        while held.by_age.len() >= CAPACITY {
            if let Some(oldest) = held.by_age.pop_front() {
                held.by_id.remove(&oldest);
            }
        }
        held.by_age.push_back(session.id.clone());
        held.by_id.insert(session.id.clone(), session.clone());
        session
    }

    /// Applies `take` to the session's value under the lock, so that a value is taken only once.
    pub(crate) fn change<R>(&self, session: &Session<T>, take: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.lock().by_id.get_mut(&session.id).map(|held| take(&mut held.value))
    }

    /// The `Set-Cookie` value that gives the browser this session.
    pub(crate) fn set_cookie(&self, session: &Session<T>) -> String {
        let secure = if self.transport == Transport::Tls { "; Secure" } else { "" };
        // Lax, not Strict: the redirect back from the other site is a cross-site navigation.
        format!("{}={}; Path=/; HttpOnly; SameSite=Lax{secure}", self.cookie, session.id)
    }

    fn lock(&self) -> MutexGuard<'_, Held<T>> {
        // A panic while the lock was held leaves the map intact.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Session<T> {
    /// Whether a form carries this session's token.
    pub(crate) fn accepts(&self, form_token: &str) -> bool {
        same_secret(&self.form_token, form_token)
    }
}

/// A fresh random value of 32 hexadecimal digits (122 bits).
pub(crate) fn unguessable() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Compares in constant time.
pub(crate) fn same_secret(ours: &str, theirs: &str) -> bool {
    ours.len() == theirs.len() && openssl::memcmp::eq(ours.as_bytes(), theirs.as_bytes())
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn browser(session: &Session<u32>) -> HeaderMap {
        let cookie = format!("other=1; site={}", session.id);
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&cookie).unwrap())])
    }

    #[test]
    fn a_session_is_found_only_by_its_cookie() {
        let sessions = Sessions::new("site", Transport::Tls);
        let session = sessions.start(None, 7);
        assert_eq!(sessions.find(&browser(&session)).unwrap().value, 7);
        assert!(sessions.find(&HeaderMap::new()).is_none());
        assert!(session.accepts(&session.form_token) && !session.accepts("") && !session.accepts(&session.id));
    }

    #[test]
    fn a_new_session_ends_the_one_it_replaces() {
        let sessions = Sessions::new("site", Transport::Loopback);
        let old = sessions.start(None, 1);
        let new = sessions.start(Some(&old), 2);
        assert!(sessions.find(&browser(&old)).is_none());
        assert_eq!(sessions.find(&browser(&new)).unwrap().value, 2);
    }

    #[test]
    fn the_oldest_session_is_evicted() {
        let sessions = Sessions::new("site", Transport::Tls);
        let first = sessions.start(None, 0);
        for value in 1..=1000 {
            sessions.start(None, value);
        }
        assert!(sessions.find(&browser(&first)).is_none());
    }

    #[test]
    fn a_cookie_is_hidden_from_scripts_and_plain_http() {
        let sessions = Sessions::new("__Host-site", Transport::Tls);
        let session = sessions.start(None, 0);
        let expected = format!("__Host-site={}; Path=/; HttpOnly; SameSite=Lax; Secure", session.id);
        assert_eq!(sessions.set_cookie(&session), expected);
    }
}
