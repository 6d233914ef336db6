//! Host names of services, routes and SNIs (gateway.md §5).
//!
//! They are stored as written and compared in their normal form ([`crate::host`]), so a name that no request
//! can have is refused here.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::host::is_numeric;

/// A parsed host: whether it is an address, and whether a port followed it.
struct Host {
    is_ip: bool,
    port: Port,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    None,
    Valid,
    Invalid,
}

/// A host and port in the form in which targets are stored: IPv6 addresses in full and in brackets.
pub(super) fn with_port(text: &str, default_port: u16) -> Option<String> {
    let Host { is_ip, port } = parse(text.trim_end_matches('.'))?;
    let (host, given) = match port {
        Port::Invalid => return None,
        Port::None => (text, None),
        Port::Valid => text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>().ok()))?,
    };
    let port = given.unwrap_or(default_port);
    match host.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        Ok(address) if is_ip => {
            let groups = address.segments().map(|group| format!("{group:04x}"));
            Some(format!("[{}]:{port}", groups.join(":")))
        }
        _ => Some(format!("{host}:{port}")),
    }
}

/// The name of an upstream: a host name without a port.
pub(super) fn upstream_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let why = match parse(text) {
        None => "must be a valid hostname",
        Some(Host { is_ip: true, .. }) => "no ip addresses allowed",
        Some(Host { port: Port::None, .. }) => return Ok(()),
        Some(Host { port: Port::Valid, .. }) => "no port allowed",
        Some(_) => "must be a valid hostname",
    };
    Err(format!("Invalid name ('{text}'); {why}"))
}

/// A host with or without a port.
pub(super) fn host_and_port(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match parse(text) {
        Some(Host { port: Port::None | Port::Valid, .. }) => Ok(()),
        Some(_) => Err("invalid port number".to_owned()),
        None => Err(format!("invalid hostname: {text}")),
    }
}

/// A server name without a wildcard.
pub(super) fn server_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if text.contains('*') { Err(invalid(text)) } else { wildcard_name(value) }
}

/// A host name or address without a port.
pub(super) fn host(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match parse(text) {
        None => Err(invalid(text)),
        Some(Host { port: Port::None, .. }) => Ok(()),
        Some(_) => Err("must not have a port".to_owned()),
    }
}

/// A host name, whose first or last label may be `*`, with or without a port.
pub(super) fn wildcard_host_and_port(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match parse(&without_wildcard(text)?) {
        Some(Host { port: Port::None | Port::Valid, .. }) => Ok(()),
        _ => Err(invalid(text)),
    }
}

/// A server name: not an address, without a port; its first or last label may be `*`, which alone is any name.
pub(super) fn wildcard_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let name = match text.matches('*').count() {
        0 => text.to_owned(),
        _ if !matches!(text.find('*'), Some(place) if place == 0 || place + 1 == text.len()) => {
            return Err("wildcard must be leftmost or rightmost character".to_owned());
        }
        1 if text == "*" || text.starts_with("*.") || text.ends_with(".*") || text.ends_with(":*") => {
            text.replace('*', "wildcard")
        }
        1 => return Err(invalid(text)),
        _ => return Err("only one wildcard must be specified".to_owned()),
    };
    match parse(&name) {
        None => Err(invalid(&name)),
        Some(Host { is_ip: true, .. }) => Err("must not be an IP".to_owned()),
        Some(Host { port: Port::None, .. }) => Ok(()),
        Some(_) => Err("must not have a port".to_owned()),
    }
}

fn invalid(text: &str) -> String {
    format!("invalid value: {text}")
}

/// The host with an ordinary label in place of the wildcard.
fn without_wildcard(text: &str) -> Result<String, String> {
    let name = text.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(text, |(name, _)| name);
    match text.matches('*').count() {
        0 => Ok(text.to_owned()),
        1 if name.starts_with("*.") || name.ends_with(".*") => Ok(text.replace('*', "wildcard")),
        1 => Err("invalid wildcard: must be placed at leftmost or rightmost label".to_owned()),
        _ => Err("invalid wildcard: must have at most one wildcard".to_owned()),
    }
}

fn parse(text: &str) -> Option<Host> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        let port = if after.is_empty() { Port::None } else { port(after.strip_prefix(':')?) };
        return Some(Host { is_ip: true, port });
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some(Host { is_ip: true, port: Port::None });
    }
    let (name, port) = match text.split_once(':') {
        None => (text, Port::None),
        Some((name, digits)) => (name, port(digits)),
    };
    let is_ip = is_numeric(name);
    let fits = if is_ip { name.parse::<Ipv4Addr>().is_ok() } else { is_name(name) };
    fits.then_some(Host { is_ip, port })
}

fn port(digits: &str) -> Port {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits && digits.parse::<u16>().is_ok() { Port::Valid } else { Port::Invalid }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.len() <= 255
        && name.split('.').all(|label| !label.is_empty() && !label.ends_with('-') && label.bytes().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn service_hosts_have_no_port() {
        for good in ["example.com", "a_b.local", "127.0.0.1", "::1", "[::1]", "xn--bcher-kva.example"] {
            assert_eq!(host(&json!(good)), Ok(()), "{good}");
        }
        for with_port in ["example.com:80", "127.0.0.1:8080", "[::1]:80", "a:x", "a:99999"] {
            assert_eq!(host(&json!(with_port)), Err("must not have a port".to_owned()), "{with_port}");
        }
        for bad in ["a b", "a..b", "-a-.com", "256.0.0.1", "127.1", "0x7f.0.0.1", "a/b", "[::1", "é.com", "a%2eb"] {
            assert_eq!(host(&json!(bad)), Err(format!("invalid value: {bad}")), "{bad}");
        }
    }

    #[test]
    fn route_hosts_have_one_wildcard_at_an_end() {
        for good in ["example.com", "example.com:8000", "*.example.com", "example.*", "example.*:80", "*.a.com:80"] {
            assert_eq!(wildcard_host_and_port(&json!(good)), Ok(()), "{good}");
        }
        let place = "invalid wildcard: must be placed at leftmost or rightmost label";
        let table = [
            ("*.a.*", "invalid wildcard: must have at most one wildcard"),
            ("a.*.com", place),
            ("*", place),
            ("*a.com", place),
            ("a:b", "invalid value: a:b"),
            ("a b", "invalid value: a b"),
        ];
        for (bad, text) in table {
            assert_eq!(wildcard_host_and_port(&json!(bad)), Err(text.to_owned()), "{bad}");
        }
    }

    #[test]
    fn server_names_are_no_addresses_and_have_one_wildcard_at_an_end() {
        for good in ["a.com", "*.example.com", "example.*", "foo.test.example.*", "*"] {
            assert_eq!(wildcard_name(&json!(good)), Ok(()), "{good}");
        }
        let (place, one) = ("wildcard must be leftmost or rightmost character", "only one wildcard must be specified");
        let table = [
            ("127.0.0.1", "must not be an IP"),
            ("10.0.0.1:8001", "must not be an IP"),
            ("::1", "must not be an IP"),
            ("a.com:443", "must not have a port"),
            ("*.a.com:443", "must not have a port"),
            ("a.com:*", "must not have a port"),
            ("a.*:80", place),
            ("foo.*.com", place),
            ("foo.*.a.*", place),
            ("*.a.*", one),
            ("*.*.a.*", one),
            ("*a.com", "invalid value: *a.com"),
            ("*.a^b.com", "invalid value: wildcard.a^b.com"),
            ("a^b", "invalid value: a^b"),
        ];
        for (bad, text) in table {
            assert_eq!(wildcard_name(&json!(bad)), Err(text.to_owned()), "{bad}");
        }
    }
}
