//! Opaque tokens that contain their number, with a tag that tells them from made-up ones.
//!
//! They have 32 characters, as the gateway's own do.

use std::fmt::Write as _;

use openssl::sha::sha256;

/// Digits of the number, hexadecimal.
const NUMBER: usize = 8;
/// Bytes of the tag.
const TAG: usize = 12;

/// The token with a number.
pub fn token(number: u32) -> String {
    let mut token = format!("{number:08x}");
    for byte in tag(token.as_bytes()) {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// The number of a token; `None` if it is not one of these.
pub fn number(text: &str) -> Option<u32> {
    let number = u32::from_str_radix(text.get(..NUMBER)?, 16).ok()?;
    (text == token(number)).then_some(number)
}

/// No secret: the authority is a stub.
fn tag(number: &[u8]) -> [u8; TAG] {
    let digest = sha256(&[b"tollgate-load ", number].concat());
    let mut tag = [0; TAG];
    tag.iter_mut().zip(digest).for_each(|(byte, from)| *byte = from);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_contains_its_number_and_a_made_up_one_does_not() {
        for expected in [0, 7, 1_000_000, u32::MAX] {
            assert_eq!(token(expected).len(), 32);
            assert_eq!(number(&token(expected)), Some(expected));
        }
        for made_up in ["", "00000007", "0000000700000000000000000000000x", "00000007000000000000000000000000"] {
            assert_eq!(number(made_up), None, "{made_up}");
        }
    }
}
