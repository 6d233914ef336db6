//! What web pages may do: which `Host` and which `Origin` a request may have.
//!
//! A browser sends requests for any page that it shows, from inside the network and from the machine itself, so
//! reaching the listener proves nothing. Two things give such requests away:
//!
//! 1. `Origin`, or without it `Sec-Fetch-Site` (Fetch Metadata): the page belongs to another origin.
//! 2. `Host`: the page's own name was made to resolve to this listener (DNS rebinding), which makes it same-origin.
//!
//! Invariant: a request without these headers, as from curl and other tools, is not a page's.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Uri};
use tollgate_core::host::Authority;

use crate::peer::{Peer, Transport};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origins whose pages may use the API, for the checks and for CORS alike.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origins {
    /// None.
    #[default]
    None,
    /// These, such as `https://ui.test`, in lower case.
    Listed(Vec<String>),
    /// Every one.
    Any,
}

/// The hosts by which the listener may be addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Any: callers prove who they are with something that a page does not have.
    Any,
    /// Loopback names and addresses, the listener's own address, and these names.
    Local {
        /// The address of the listener.
        listener: IpAddr,
        /// Further names, in lower case.
        allowed: Vec<String>,
    },
}

impl Default for Hosts {
    fn default() -> Self {
        Self::Local { listener: IpAddr::from([127, 0, 0, 1]), allowed: Vec::new() }
    }
}

/// Both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrowserRules {
    /// Which pages.
    pub origins: Origins,
    /// Under which names.
    pub hosts: Hosts,
}

/// A request that no page may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It names a host that is not this listener's.
    Host,
    /// It comes from a page of another origin.
    Origin,
}

impl BrowserRules {
    /// The value of `Access-Control-Allow-Origin`, or why the request is refused.
    pub(crate) fn judge(&self, uri: &Uri, headers: &HeaderMap, peer: Option<&Peer>) -> Result<HeaderValue, Foreign> {
        self.check_host(uri, headers)?;
        self.judge_origin(headers, peer)
    }

    /// Whether a request names a host of this listener.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Foreign> {
        let Hosts::Local { listener, allowed } = &self.hosts else { return Ok(()) };
        let named = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let mut named = named.chain(uri.authority().map(http::uri::Authority::as_str));
        if named.all(|host| is_local(host, *listener, allowed)) { Ok(()) } else { Err(Foreign::Host) }
    }

    fn judge_origin(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<HeaderValue, Foreign> {
        let mut given = headers.get_all(ORIGIN).iter();
        match (given.next(), given.next()) {
            (Some(origin), None) if self.allows(origin) || is_same(origin, headers, peer) => Ok(origin.clone()),
            (Some(_), _) => Err(Foreign::Origin),
            (None, _) if is_of_another_site(headers) && self.origins != Origins::Any => Err(Foreign::Origin),
            (None, _) => Ok(HeaderValue::from_static("*")),
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::None => false,
            Origins::Any => true,
            Origins::Listed(listed) => {
                listed.iter().any(|known| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
            }
        }
    }
}

fn is_local(host: &str, listener: IpAddr, allowed: &[String]) -> bool {
    let Ok(authority) = Authority::parse(host) else { return false };
    let name = authority.host.as_str();
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => {
            ip.to_canonical().is_loopback() || ip.to_canonical() == listener.to_canonical() || is_in(allowed, name)
        }
        Err(_) => name == "localhost" || name.ends_with(".localhost") || is_in(allowed, name),
    }
}

fn is_in(allowed: &[String], name: &str) -> bool {
    allowed.iter().any(|known| known == name)
}

/// Whether the page is this listener's own: it then has its scheme, host and port.
fn is_same(origin: &HeaderValue, headers: &HeaderMap, peer: Option<&Peer>) -> bool {
    let scheme: &[u8] = match peer.map(|peer| &peer.transport) {
        None | Some(Transport::Plain) => b"http://",
        Some(Transport::Tls | Transport::TlsWithCertificate(_)) => b"https://",
    };
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    host.is_some() && origin.as_bytes().strip_prefix(scheme) == host
}

/// What browsers say of requests that have no `Origin`, such as links and images.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none" && site != "same-origin")
}

/// Whether an address is loopback, in any of its forms.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn judged(rules: &BrowserRules, lines: &[(&'static str, &str)]) -> Result<String, Foreign> {
        let value = rules.judge(&Uri::from_static("/services"), &headers(lines), None);
        value.map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_host_is_a_loopback_one_the_listeners_or_an_allowed_one() {
        let hosts = Hosts::Local { listener: "127.0.0.7".parse().unwrap(), allowed: vec!["admin.test".to_owned()] };
        let rules = BrowserRules { hosts, ..BrowserRules::default() };
        for host in [
            "127.0.0.1:8001",
            "127.0.0.1",
            "[::1]:8001",
            "127.0.0.7:1",
            "127.9.9.9",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LOCALHOST.:8001",
            "a.localhost:8001",
            "admin.test",
            "Admin.Test:8001",
        ] {
            assert_eq!(judged(&rules, &[("host", host)]), Ok("*".to_owned()), "{host}");
        }
        for host in [
            "evil.test",
            "evil.test:8001",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "notlocalhost",
            "192.0.2.1",
            "0.0.0.0",
            "127.1",
            "0x7f000001",
            "",
            "admin.test.",
            "a b",
            "[::2]",
        ] {
            let expected = if host == "admin.test." { Ok("*".to_owned()) } else { Err(Foreign::Host) };
            assert_eq!(judged(&rules, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(judged(&rules, &[("host", "localhost"), ("host", "evil.test")]), Err(Foreign::Host));
        let target = Uri::from_static("http://evil.test/services");
        assert_eq!(rules.judge(&target, &headers(&[("host", "localhost")]), None), Err(Foreign::Host));
        let open = BrowserRules { hosts: Hosts::Any, ..rules };
        assert_eq!(judged(&open, &[("host", "evil.test")]), Ok("*".to_owned()));
    }

    #[test]
    fn pages_of_other_origins_are_refused_unless_they_are_listed() {
        let listed = Origins::Listed(vec!["https://ui.test".to_owned()]);
        let rules = BrowserRules { origins: listed, ..BrowserRules::default() };
        let host = ("host", "localhost:8001");
        for (lines, expected) in [
            (vec![host], Ok("*")),
            (vec![host, ("origin", "https://ui.test")], Ok("https://ui.test")),
            (vec![host, ("origin", "HTTPS://UI.test")], Ok("HTTPS://UI.test")),
            (vec![host, ("origin", "https://ui.test"), ("sec-fetch-site", "cross-site")], Ok("https://ui.test")),
            (vec![host, ("origin", "http://localhost:8001")], Ok("http://localhost:8001")),
            (vec![host, ("sec-fetch-site", "none")], Ok("*")),
            (vec![host, ("sec-fetch-site", "same-origin")], Ok("*")),
            (vec![host, ("sec-fetch-site", "cross-site")], Err(Foreign::Origin)),
            (vec![host, ("sec-fetch-site", "same-site")], Err(Foreign::Origin)),
            (vec![host, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], Err(Foreign::Origin)),
            (vec![host, ("origin", "https://evil.test")], Err(Foreign::Origin)),
            (vec![host, ("origin", "https://ui.test.evil.test")], Err(Foreign::Origin)),
            (vec![host, ("origin", "http://ui.test")], Err(Foreign::Origin)),
            (vec![host, ("origin", "https://ui.test:444")], Err(Foreign::Origin)),
            (vec![host, ("origin", "null")], Err(Foreign::Origin)),
            (vec![host, ("origin", "")], Err(Foreign::Origin)),
            (vec![host, ("origin", "http://localhost:3000")], Err(Foreign::Origin)),
            (vec![host, ("origin", "https://localhost:8001")], Err(Foreign::Origin)),
            (vec![host, ("origin", "https://ui.test"), ("origin", "https://evil.test")], Err(Foreign::Origin)),
        ] {
            assert_eq!(judged(&rules, &lines), expected.map(str::to_owned), "{lines:?}");
        }
        let open = BrowserRules { origins: Origins::Any, ..BrowserRules::default() };
        assert_eq!(judged(&open, &[host, ("origin", "https://evil.test")]), Ok("https://evil.test".to_owned()));
    }
}
