//! Tokens, codes and their digests.
//!
//! A clear value exists only in the response that issues it and in the request that presents it; only its
//! BLAKE3 [`Digest`] is stored and cached. The format of our own tokens and codes is that of [`OwnTokens`].

use tollgate_core::notes;
pub use tollgate_plugin::Digest;
pub use tollgate_plugin::own_token::{ChecksumKey, OwnTokens, Shape, TOKEN_LENGTH};

/// What operators distinguish tokens by ([`notes::hint`]); empty for a token too short to reveal it.
pub fn hint(clear: &str) -> String {
    notes::hint(clear).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hint_is_the_end_of_a_long_token_and_empty_for_a_short_one() {
        assert_eq!(hint("0123456789abcdefghijklmnopqrstuv"), "stuv");
        assert_eq!(hint("short"), "");
        assert_eq!(hint("ééééééééééééééééabcé"), "abcé");
    }

    proptest! {
        #[test]
        fn any_text_has_a_hint(text in "\\PC{0,64}") {
            prop_assert!(hint(&text).chars().count() <= 4);
        }
    }
}
