//! Allowed origins.
//!
//! An entry is `*`, an origin (`https://app.example`), or a regular expression that must match the whole
//! origin; an entry without a colon is compared only with the host. Origins are compared in normal form:
//! scheme and host in lower case, without the scheme's default port.

use http::HeaderValue;
use regex::{Regex, RegexBuilder};
use url::Url;

/// Maximum memory of a compiled expression.
const REGEX_LIMIT: usize = 1 << 20;

/// An entry is not a valid regular expression.
#[derive(Debug, thiserror::Error)]
#[error("{entry} is not a valid regular expression")]
pub(crate) struct InvalidOrigin {
    entry: String,
    #[source]
    source: Box<regex::Error>,
}

/// The allowed origins.
#[derive(Debug)]
pub(crate) enum Origins {
    /// All.
    Any,
    /// One, which is sent to every client.
    One(HeaderValue),
    /// Those that match an entry; the response names the client's own.
    Listed(Vec<Entry>),
}

/// An entry of a list.
#[derive(Debug)]
pub(crate) enum Entry {
    Any,
    Origin(String),
    /// Matched against the whole origin.
    Whole(Regex),
    /// Matched against the host.
    Host(Regex),
}

/// The value of `Access-Control-Allow-Origin` for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// `*`.
    All,
    /// This origin.
    Origin(HeaderValue),
    /// No header.
    None,
}

/// The client's origin in normal form.
struct ClientOrigin {
    whole: String,
    host: String,
}

impl ClientOrigin {
    fn of(text: &str) -> Self {
        let parsed = Url::parse(text).ok();
        match parsed.as_ref().and_then(|url| Some((url, url.host_str()?))) {
            // The parser drops the scheme's default port.
            Some((url, host)) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                Self { whole: format!("{}://{host}{port}", url.scheme()), host: host.to_owned() }
            }
            // Such as `null`, which sandboxed pages send.
            None => Self { whole: text.to_owned(), host: text.to_owned() },
        }
    }
}

impl Origins {
    /// Parses the `origins` field.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, InvalidOrigin> {
        match entries {
            [] => Ok(Self::Any),
            [only] if only == "*" => Ok(Self::Any),
            [only] if is_plain(only) => Ok(HeaderValue::try_from(only.as_str()).map_or(Self::Any, Self::One)),
            list => Ok(Self::Listed(list.iter().map(|entry| Entry::parse(entry)).collect::<Result<_, _>>()?)),
        }
    }

    /// Whether the response depends on the request's origin, which caches must know (`Vary`).
    pub(crate) fn vary(&self) -> bool {
        !matches!(self, Self::Any)
    }

    /// The header value for a client of this origin.
    pub(crate) fn allowed(&self, client: Option<&str>) -> Allowed {
        match (self, client) {
            (Self::Any, _) => Allowed::All,
            (Self::One(origin), _) => Allowed::Origin(origin.clone()),
            (Self::Listed(_), None) => Allowed::None,
            (Self::Listed(entries), Some(client)) => {
                if entries.iter().any(|entry| matches!(entry, Entry::Any)) {
                    return Allowed::All;
                }
                let client = ClientOrigin::of(client);
                let found = entries.iter().any(|entry| entry.matches(&client));
                let origin = found.then(|| HeaderValue::try_from(client.whole).ok()).flatten();
                origin.map_or(Allowed::None, Allowed::Origin)
            }
        }
    }
}

impl Entry {
    fn parse(entry: &str) -> Result<Self, InvalidOrigin> {
        if entry == "*" {
            return Ok(Self::Any);
        }
        if is_plain(entry) {
            return Ok(Self::Origin(ClientOrigin::of(entry).whole));
        }
        // Anchored even if the expression is not.
        let bare = entry.strip_prefix('^').unwrap_or(entry);
        let bare = bare.strip_suffix('$').unwrap_or(bare);
        let built = RegexBuilder::new(&format!("^(?:{bare})$")).size_limit(REGEX_LIMIT).build();
        let regex = built.map_err(|source| InvalidOrigin { entry: entry.to_owned(), source: Box::new(source) })?;
        Ok(if entry.contains(':') { Self::Whole(regex) } else { Self::Host(regex) })
    }

    fn matches(&self, client: &ClientOrigin) -> bool {
        match self {
            Self::Any => true,
            Self::Origin(origin) => *origin == client.whole,
            Self::Whole(regex) => regex.is_match(&client.whole),
            Self::Host(regex) => regex.is_match(&client.host),
        }
    }
}

/// Whether an entry is an origin rather than an expression.
fn is_plain(entry: &str) -> bool {
    entry.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'/' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(entries: &[&str], client: Option<&str>) -> String {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        match Origins::parse(&entries).unwrap().allowed(client) {
            Allowed::All => "*".to_owned(),
            Allowed::Origin(origin) => origin.to_str().unwrap().to_owned(),
            Allowed::None => String::new(),
        }
    }

    #[test]
    fn an_origin_is_allowed_by_an_entry_that_matches_it_completely() {
        let rows: &[(&[&str], Option<&str>, &str)] = &[
            (&[], Some("http://a.test"), "*"),
            (&["*"], None, "*"),
            (&["https://app.test"], Some("https://evil.test"), "https://app.test"),
            (&["https://app.test"], None, "https://app.test"),
            (&["https://a.test", "https://b.test"], Some("https://b.test"), "https://b.test"),
            (&["https://a.test", "https://b.test"], Some("https://B.test:443"), "https://b.test"),
            (&["https://a.test", "https://b.test"], Some("http://b.test"), ""),
            (&["https://a.test", "https://b.test"], Some("https://b.test:8443"), ""),
            (&["https://a.test", "https://b.test"], None, ""),
            (&["https://a.test", "*"], Some("https://z.test"), "*"),
            (&[r"(.*\.)?a\.test"], Some("https://x.a.test"), "https://x.a.test"),
            (&[r"(.*\.)?a\.test"], Some("https://a.test.evil"), ""),
            (&[r"^https://[a-z]+\.a\.test$"], Some("https://x.a.test"), "https://x.a.test"),
            (&[r"https://a\.test"], Some("https://a.test.evil"), ""),
            (&[r"https://(a|b)\.test|c"], Some("https://b.test"), "https://b.test"),
            (&[r"a\.test", "null"], Some("null"), "null"),
        ];
        for (entries, client, expected) in rows {
            assert_eq!(header(entries, *client), *expected, "{entries:?} {client:?}");
        }
    }

    #[test]
    fn an_invalid_expression_is_rejected() {
        let error = Origins::parse(&["https://(".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "https://( is not a valid regular expression");
        assert!(Origins::parse(&[format!("(?:{}){{1000}}", r"\pL{100}")]).is_err(), "and neither is a huge one");
    }
}
