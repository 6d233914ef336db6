//! A checked request with the headers that the client writes.

use std::fmt::Write as _;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority as UriAuthority, PathAndQuery};
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body_util::Full;

use crate::authority::{Origin, Scheme};
use crate::connection::{Message, Protocol};
use crate::error::{Error, Place};

/// Headers that address or frame a message, or concern one connection: a caller that forwards somebody else's
/// headers must not decide about these.
const WRITTEN_HERE: [HeaderName; 10] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The default, unless the caller sets it.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));

/// Longer paths are truncated in errors.
const MAX_SHOWN: usize = 200;

/// A checked URL.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    pub(crate) place: Place,
    path: PathAndQuery,
    authority: UriAuthority,
    host: HeaderValue,
}

impl Target {
    fn of(url: &Uri) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidRequest { reason };
        let origin = origin(url).map_err(invalid)?;
        let text = origin.authority();
        let authority = text.parse::<UriAuthority>().map_err(|_| invalid("the URL has an invalid host"))?;
        let host = HeaderValue::from_str(&text).map_err(|_| invalid("the URL has an invalid host"))?;
        let path = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let place = place(&origin, &text, path.path());
        Ok(Self { origin, place, path, authority, host })
    }
}

/// The URL that was called last, which need not be checked again: nearly every caller has one. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct LastTarget(Arc<ArcSwapOption<(Uri, Arc<Target>)>>);

impl LastTarget {
    fn of(&self, url: &Uri) -> Result<Arc<Target>, Error> {
        if let Some(last) = &*self.0.load()
            && last.0 == *url
        {
            return Ok(Arc::clone(&last.1));
        }
        let target = Arc::new(Target::of(url)?);
        self.0.store(Some(Arc::new((url.clone(), Arc::clone(&target)))));
        Ok(target)
    }
}

/// A request that can be sent, more than once if necessary.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) target: Arc<Target>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    /// Checks a request.
    pub(crate) fn new(request: Request<Bytes>, last: &LastTarget) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(Error::InvalidRequest { reason: "CONNECT is not supported; use another method" });
        }
        let target = last.of(&parts.uri)?;
        let mut headers = parts.headers;
        if headers.keys().any(|name| WRITTEN_HERE.contains(name)) {
            WRITTEN_HERE.iter().for_each(|name| drop(headers.remove(name)));
        }
        headers.insert(header::HOST, target.host.clone());
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        Ok(Self { target, method: parts.method, headers, body })
    }

    /// Whether repeating it has no further effect (RFC 9110 §9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// The message for a protocol: the target is a path in HTTP/1.1, and the whole URL in HTTP/2.
    pub(crate) fn message(&self, protocol: Protocol) -> Result<Message, Error> {
        let mut message = Request::new(Full::new(self.body.clone()));
        *message.method_mut() = self.method.clone();
        *message.headers_mut() = self.headers.clone();
        *message.uri_mut() = match protocol {
            Protocol::Http1 => Uri::from(self.target.path.clone()),
            Protocol::Http2 => {
                *message.version_mut() = Version::HTTP_2;
                // `:authority` replaces it (RFC 9113 §8.3.1).
                message.headers_mut().remove(header::HOST);
                Uri::builder()
                    .scheme(self.target.origin.scheme.name())
                    .authority(self.target.authority.clone())
                    .path_and_query(self.target.path.clone())
                    .build()
                    .map_err(|_| Error::InvalidRequest { reason: "the URL cannot be sent over HTTP/2" })?
            }
        };
        Ok(message)
    }
}

/// The authority of an absolute URL, or what is wrong with it.
pub(crate) fn origin(uri: &Uri) -> Result<Origin, &'static str> {
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err("not an absolute http or https URL; use https://HOST/PATH"),
    };
    let authority = uri.authority().ok_or("the URL has no host; use https://HOST/PATH")?;
    if authority.as_str().contains('@') {
        return Err("the URL contains credentials; send them in the Authorization header");
    }
    let host = authority.host();
    let named = authority.port_u16();
    if named.is_none() && authority.as_str().len() != host.len() {
        return Err("the URL has an invalid port; use a number up to 65535");
    }
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err("the URL has no host; use https://HOST/PATH");
    }
    Ok(Origin { scheme, host: host.to_ascii_lowercase(), port: named.unwrap_or(scheme.default_port()) })
}

fn place(origin: &Origin, authority: &str, path: &str) -> Place {
    let mut text = format!("{}://{authority}", origin.scheme.name());
    let shown: String = path.chars().take(MAX_SHOWN).collect();
    text.push_str(&shown);
    if shown.len() < path.len() {
        let _ = write!(text, "…");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(uri: &str) -> Result<Outgoing, Error> {
        Outgoing::new(Request::get(uri).body(Bytes::new()).unwrap(), &LastTarget::default())
    }

    #[test]
    fn a_place_has_no_query_and_authorities_are_equal_in_any_spelling() {
        for (uri, place, port) in [
            ("https://issuer.test", "https://issuer.test/", 443),
            ("HTTPS://Issuer.Test:443/a?token=secret", "https://issuer.test/a", 443),
            ("http://issuer.test:8080/a/b", "http://issuer.test:8080/a/b", 8080),
            ("http://[::1]/?q", "http://[::1]/", 80),
            ("http://[::1]:81/", "http://[::1]:81/", 81),
        ] {
            let made = outgoing(uri).unwrap();
            assert_eq!((&*made.target.place, made.target.origin.port), (place, port), "{uri}");
        }
        let long = format!("https://issuer.test/{}", "a".repeat(500));
        assert_eq!(&*outgoing(&long).unwrap().target.place, format!("https://issuer.test/{}…", "a".repeat(199)));
    }

    #[test]
    fn a_url_without_a_server_or_with_a_secret_is_refused() {
        for uri in ["/path", "ftp://issuer.test/", "https://user:secret@issuer.test/", "https://issuer.test:99999/"] {
            let refused = outgoing(uri).unwrap_err();
            assert!(matches!(refused, Error::InvalidRequest { .. }), "{uri}: {refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        let connect = Request::connect("https://issuer.test/").body(Bytes::new()).unwrap();
        assert!(matches!(Outgoing::new(connect, &LastTarget::default()), Err(Error::InvalidRequest { .. })));
    }

    #[test]
    fn a_url_is_checked_again_if_it_differs_from_the_last() {
        let last = LastTarget::default();
        let target = |url: &str| last.of(&url.parse().unwrap()).map(|target| target.path.to_string());
        for url in ["http://a.test/1?q", "http://A.test/1?q", "http://a.test/2", "http://a.test/1?q", "http://b.test/1"]
        {
            let made = last.of(&url.parse().unwrap()).unwrap();
            let written = format!("{}{}", made.origin.name().replace(":80", ""), made.path);
            assert_eq!(written, url.to_lowercase());
        }
        assert!(Arc::ptr_eq(
            &last.of(&"http://b.test/1".parse().unwrap()).unwrap(),
            &last.clone().of(&"http://B.test/1".parse().unwrap()).unwrap()
        ));
        assert!(target("/1").is_err() && target("http://b.test/1").is_ok());
    }

    #[test]
    fn callers_cannot_set_headers_that_frame_a_message() {
        let request = Request::post("https://issuer.test:8443/a?b")
            .header("host", "elsewhere.test")
            .header("content-length", "1")
            .header("transfer-encoding", "chunked")
            .header("connection", "upgrade")
            .header("x-kept", "yes")
            .body(Bytes::from("body"))
            .unwrap();
        let made = Outgoing::new(request, &LastTarget::default()).unwrap();
        let message = made.message(Protocol::Http1).unwrap();
        assert_eq!(message.uri(), "/a?b");
        let sent: Vec<_> = message.headers().iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let agent = format!("tollgate/{}", env!("CARGO_PKG_VERSION"));
        for (name, value) in
            [("host", "issuer.test:8443"), ("user-agent", &agent), ("accept-encoding", "identity"), ("x-kept", "yes")]
        {
            assert!(sent.contains(&(name, HeaderValue::from_str(value).unwrap())), "{name}: {sent:?}");
        }
        assert_eq!(sent.len(), 4, "{sent:?}");
        let message = made.message(Protocol::Http2).unwrap();
        assert_eq!(message.uri(), "https://issuer.test:8443/a?b");
        assert!(!message.headers().contains_key("host"));
    }
}
