//! Reading `Authorization` and `Proxy-Authorization` (RFC 7617 §2).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderName;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use tollgate_plugin::Request;
use zeroize::Zeroizing;

/// In the order in which they are looked at.
pub(crate) const HEADERS: [HeaderName; 2] = [PROXY_AUTHORIZATION, AUTHORIZATION];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a client presents.
#[derive(Clone)]
pub(crate) struct Presented {
    pub(crate) username: String,
    pub(crate) password: Zeroizing<Vec<u8>>,
}

/// The credentials of a request, in the order in which they are looked at.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) credentials: Vec<Presented>,
    /// Whether there was anything in the headers.
    pub(crate) any: bool,
}

/// Reads the headers.
pub(crate) fn find(request: &Request<'_>) -> Found {
    let mut found = Found::default();
    for name in &HEADERS {
        for value in request.headers.get_all(name) {
            found.any = true;
            found.credentials.extend(parse(value.as_bytes()));
        }
    }
    found
}

/// Removes the headers from what goes upstream.
pub(crate) fn hide(request: &mut Request<'_>) {
    HEADERS.iter().for_each(|name| request.edits.remove(name.clone()));
}

fn parse(value: &[u8]) -> Option<Presented> {
    const SCHEME: &[u8] = b"basic";
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(rest.trim_ascii()).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':').filter(|colon| *colon > 0)?;
    let (username, password) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
    // Stored names are text.
    let username = std::str::from_utf8(username).ok()?.to_owned();
    Some(Presented { username, password: Zeroizing::new(password.to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &[u8]) -> Option<(String, Vec<u8>)> {
        parse(value).map(|presented| (presented.username, presented.password.to_vec()))
    }

    #[test]
    fn credentials_are_read_in_every_letter_case_of_the_scheme() {
        let of = |username: &str, password: &[u8]| Some((username.to_owned(), password.to_vec()));
        for (value, expected) in [
            ("Basic Ym9iOmtvbmc=", of("bob", b"kong")),
            ("basic Ym9iOmtvbmc", of("bob", b"kong")),
            ("  BASIC   Ym9iOmtvbmc= ", of("bob", b"kong")),
            ("BasicYm9iOmtvbmc=", of("bob", b"kong")),
            ("Basic Ym9iOmE6Yg==", of("bob", b"a:b")),
            ("Basic Ym9iOg==", of("bob", b"")),
            ("Basic Ym9iOv8=", of("bob", b"\xff")),
            ("Basic /zph", None),
            ("Basic OmtvbmM=", None),
            ("Basic Ym9i", None),
            ("Basic !!!!", None),
            ("Basic", None),
            ("Bas", None),
            ("", None),
            ("Bearer Ym9iOmtvbmc=", None),
        ] {
            assert_eq!(parsed(value.as_bytes()), expected, "{value}");
        }
    }
}
