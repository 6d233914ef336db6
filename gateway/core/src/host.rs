//! The normal form of hosts (RFC 3986 §3.2.2, RFC 9110 §4.2.3), to which requests and configuration are
//! converted before comparison.
//!
//! 1. A name is in lower case and has no final dot.
//! 2. An IPv6 address is written as in RFC 5952 §4, in brackets.
//! 3. The port is parsed separately; `:0443` is 443, and `:` means no port.
//!
//! Ambiguous spellings of a host are refused: percent-encoding, non-ASCII characters (IDNA has A-labels for
//! them), zones of IPv6 addresses, and the forms that `inet_aton` accepts besides four decimal numbers
//! (`127.1`, `0x7f000001`).
//!
//! Invariant: a [`Host`] is always in normal form, and hosts are compared as [`Host`]s.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// The longest name in DNS (RFC 1035 §2.3.4).
const LONGEST: usize = 255;

/// The text is not a host, or is ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The name or one of its labels is empty, or the name is too long.
    #[error("invalid host name: empty, with an empty label, or longer than 255 bytes")]
    Name,
    /// It contains a character that host names cannot contain.
    #[error("invalid character in the host: only letters, digits, `-`, `.`, `_` and `~` are allowed")]
    Character,
    /// It is not an address, or parsers disagree about its form.
    #[error("invalid address in the host: expected four decimal numbers, or IPv6 in brackets")]
    Address,
    /// The text after the colon is not a port.
    #[error("invalid port: expected a number up to 65535")]
    Port,
}

/// A name or address, without a port, in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host<'h>(Cow<'h, str>);

/// A host with the port that followed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The port, if one was named.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host` or `host:port`, as in a `Host` field. Text in normal form is not copied.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let after_address = if text.starts_with('[') { text.find(']').ok_or(Malformed::Address)? } else { 0 };
        let rest = text.get(after_address..).unwrap_or_default();
        // Hosts are short: a search with a set-up phase for long texts costs more.
        match rest.bytes().position(|byte| byte == b':') {
            None => Ok(Self { host: Host::parse(text)?, port: None }),
            Some(at) => {
                let (host, port) = text.split_at(after_address + at);
                Ok(Self { host: Host::parse(host)?, port: parse_port(port.get(1..).unwrap_or_default())? })
            }
        }
    }
}

impl Authority<'_> {
    /// An owned copy.
    pub fn into_owned(self) -> Authority<'static> {
        Authority { host: self.host.into_owned(), port: self.port }
    }
}

impl<'h> Host<'h> {
    /// Reads a host without a port; an IPv6 address is in brackets. Text in normal form is not copied.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(text: &'h str) -> Result<Self, Malformed> {
        match text.strip_prefix('[') {
            None => name(text).map(Self),
            Some(rest) => {
                let address = rest.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
                Ok(Self::of_ipv6(text, address.ok_or(Malformed::Address)?))
            }
        }
    }

    /// The address in brackets; borrows `text` if it is already in that form.
    fn of_ipv6(text: &'h str, address: Ipv6Addr) -> Self {
        let mut rest = Rest(text);
        match write!(rest, "[{address}]") {
            Ok(()) if rest.0.is_empty() => Self(Cow::Borrowed(text)),
            _ => Self(Cow::Owned(format!("[{address}]"))),
        }
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An owned copy.
    pub fn into_owned(self) -> Host<'static> {
        Host(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares written output with a text: holds the part of the text that was not matched yet.
struct Rest<'t>(&'t str);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}

fn name(text: &str) -> Result<Cow<'_, str>, Malformed> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || text.len() > LONGEST {
        return Err(Malformed::Name);
    }
    let mut upper = false;
    let mut previous = b'.';
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {}
            b'A'..=b'Z' => upper = true,
            b'.' if previous == b'.' => return Err(Malformed::Name),
            b'.' => {}
            _ => return Err(Malformed::Character),
        }
        previous = byte;
    }
    if previous == b'.' {
        return Err(Malformed::Name);
    }
    if is_numeric(text) && text.parse::<Ipv4Addr>().is_err() {
        return Err(Malformed::Address);
    }
    Ok(if upper { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) })
}

/// Whether every label is a number, so that some parsers read an IPv4 address.
pub(crate) fn is_numeric(name: &str) -> bool {
    let is_number = |label: &[u8]| match label {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    };
    let name = name.as_bytes();
    name.first().is_some_and(u8::is_ascii_digit) && name.split(|byte| *byte == b'.').all(is_number)
}

fn parse_port(digits: &str) -> Result<Option<u16>, Malformed> {
    // `parse` accepts a leading plus sign; a port has none.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed::Port);
    }
    match digits {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| Malformed::Port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_host_have_one_normal_form() {
        let rows = [
            ("a.test", "a.test", None),
            ("A.Test", "a.test", None),
            ("a.test.", "a.test", None),
            ("a.test:", "a.test", None),
            ("A.TEST.:0443", "a.test", Some(443)),
            ("a.test:80", "a.test", Some(80)),
            ("a.test:00000000000000000080", "a.test", Some(80)),
            ("a_b-c~d.test", "a_b-c~d.test", None),
            ("XN--Bcher-Kva.example", "xn--bcher-kva.example", None),
            ("localhost", "localhost", None),
            ("web.1", "web.1", None),
            ("0xyz", "0xyz", None),
            ("127.0.0.1", "127.0.0.1", None),
            ("127.0.0.1.:8000", "127.0.0.1", Some(8000)),
            ("[::1]", "[::1]", None),
            ("[0:0:0::0001]:8000", "[::1]", Some(8000)),
            ("[2001:DB8:0:0:1:0:0:1]:", "[2001:db8::1:0:0:1]", None),
            ("[::FFFF:7f00:1]", "[::ffff:127.0.0.1]", None),
        ];
        for (text, host, port) in rows {
            let parsed = Authority::parse(text).map(|authority| (authority.host.to_string(), authority.port));
            assert_eq!(parsed, Ok((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn invalid_and_ambiguous_hosts_are_refused() {
        let rows = [
            ("", Malformed::Name),
            (".", Malformed::Name),
            (":80", Malformed::Name),
            ("a..test", Malformed::Name),
            (".a.test", Malformed::Name),
            ("a.test..", Malformed::Name),
            ("a.test:80:80", Malformed::Port),
            ("a.test:x", Malformed::Port),
            ("a.test:+80", Malformed::Port),
            ("a.test:-1", Malformed::Port),
            ("a.test:65536", Malformed::Port),
            ("a.test: 80", Malformed::Port),
            ("a%2etest", Malformed::Character),
            ("%61.test", Malformed::Character),
            ("bücher.example", Malformed::Character),
            ("a.test,b.test", Malformed::Character),
            ("a b", Malformed::Character),
            ("user@a.test", Malformed::Character),
            ("a/b", Malformed::Character),
            ("*.test", Malformed::Character),
            ("127.1", Malformed::Address),
            ("127.0.0.01", Malformed::Address),
            ("0x7F.0.0.1", Malformed::Address),
            ("2130706433", Malformed::Address),
            ("256.0.0.1", Malformed::Address),
            ("1.2.3.4.5", Malformed::Address),
            ("::1", Malformed::Name),
            ("[::1", Malformed::Address),
            ("[::1]a", Malformed::Address),
            ("[fe80::1%eth0]", Malformed::Address),
            ("[fe80::1%25eth0]", Malformed::Address),
            ("[v1.x]", Malformed::Address),
            ("[127.0.0.1]", Malformed::Address),
            ("[]", Malformed::Address),
            ("[::1]:80:80", Malformed::Port),
        ];
        for (text, expected) in rows {
            assert_eq!(Authority::parse(text), Err(expected), "{text}");
        }
        assert_eq!(Host::parse(&"a".repeat(256)), Err(Malformed::Name));
        assert!(Host::parse(&format!("{}.", "a".repeat(255))).is_ok());
    }

    #[test]
    fn a_host_in_normal_form_is_not_copied() {
        for text in ["a.test", "a.test.", "127.0.0.1", "[::1]", "[2001:db8::1:0:0:1]"] {
            assert!(matches!(Host::parse(text), Ok(Host(Cow::Borrowed(_)))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn normalisation_is_idempotent_and_independent_of_spelling(
            text in r"([aB0-]{1,3}\.){0,3}[aB0x]{1,3}|\[([0-9A-Fa]{1,4}:){7}[0-9A-F]{1,4}\]|\[::[0-9A-Fa]{0,4}\]",
            dot in any::<bool>(),
        ) {
            let Ok(host) = Host::parse(&text) else { return Ok(()) };
            prop_assert_eq!(&Host::parse(host.as_str()).unwrap(), &host);
            let spelled = text.to_ascii_uppercase() + if dot && !text.starts_with('[') { "." } else { "" };
            prop_assert_eq!(&Host::parse(&spelled).unwrap(), &host);
            prop_assert_eq!(Authority::parse(&spelled).unwrap(), Authority { host, port: None });
        }
    }
}
