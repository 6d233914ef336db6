//! The memory for cached tokens: one limit for tokens of all kinds, of which other authorization servers' have a share.
//!
//! Several plugins cache tokens, so none of them owns these settings: the gateway adds [`SETTINGS`] to its own.

use tollgate_core::setting::{self, Setting, SettingError, SettingValues};

use crate::cache::Bounds;

const MAX_BYTES: &str = "token_cache.max_bytes";
const THIRD_PARTY_PERCENT: &str = "token_cache.third_party_percent";
const NEGATIVE_TTL: &str = "token_cache.negative_ttl";

/// The largest share: our own tokens, which every deployment has, keep a tenth.
const MOST_PERCENT: u64 = 90;

/// Limits of the caches of tokens.
pub const SETTINGS: &[Setting] = &[
    Setting::new(MAX_BYTES, "268435456", "Maximum memory for cached tokens of all kinds, in bytes.")
        .checked(|text| setting::number(text).map(drop)),
    Setting::new(
        THIRD_PARTY_PERCENT,
        "25",
        "Share of that memory for tokens of other authorization servers, in percent, up to 90; 0: none is cached.",
    )
    .checked(|text| percent(text).map(drop)),
    Setting::new(NEGATIVE_TTL, "5s", "How long an unknown token is cached as unknown.")
        .checked(|text| setting::duration(text).map(drop)),
];

/// The limits of the caches of tokens, which together keep to the settings.
#[derive(Debug, Clone, Copy)]
pub struct TokenCacheBounds {
    /// For the gateway's own tokens.
    pub own: Bounds,
    /// For tokens of other authorization servers, in all plugins together.
    pub third_party: Bounds,
}

impl TokenCacheBounds {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn read(settings: &SettingValues) -> Result<Self, SettingError> {
        let bytes = settings.read(MAX_BYTES, setting::number)?;
        let percent = settings.read(THIRD_PARTY_PERCENT, percent)?;
        let negative_ttl = settings.read(NEGATIVE_TTL, setting::duration)?;
        let negative_millis = i64::try_from(negative_ttl.as_millis()).unwrap_or(i64::MAX);
        let of_third_parties = bytes / 100 * percent + bytes % 100 * percent / 100;
        let bounds = |bytes| Bounds { bytes, negative_millis };
        Ok(Self { own: bounds(bytes - of_third_parties), third_party: bounds(of_third_parties) })
    }
}

fn percent(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a whole number from 0 to {MOST_PERCENT}");
    setting::number(text).ok().filter(|percent| *percent <= MOST_PERCENT).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(bytes: u64, percent: &str) -> SettingValues {
        let ttl = "1500ms".to_owned();
        [(MAX_BYTES, bytes.to_string()), (THIRD_PARTY_PERCENT, percent.to_owned()), (NEGATIVE_TTL, ttl)]
            .into_iter()
            .collect()
    }

    #[test]
    fn the_shares_add_up_to_the_limit() {
        for (bytes, percent, own, third_party) in [
            (1000, "25", 750, 250),
            (999, "25", 750, 249),
            (1000, "0", 1000, 0),
            (1000, "90", 100, 900),
            (0, "25", 0, 0),
            (u64::MAX, "90", 1_844_674_407_370_955_162, 16_602_069_666_338_596_453),
        ] {
            let bounds = TokenCacheBounds::read(&settings(bytes, percent)).unwrap();
            assert_eq!((bounds.own.bytes, bounds.third_party.bytes), (own, third_party), "{bytes} {percent}");
            assert_eq!((bounds.own.negative_millis, bounds.third_party.negative_millis), (1500, 1500));
        }
    }

    #[test]
    fn by_default_a_quarter_of_256_mib_is_for_third_parties() {
        let bounds = TokenCacheBounds::read(&SettingValues::defaults(SETTINGS)).unwrap();
        assert_eq!((bounds.own.bytes, bounds.third_party.bytes), (192 << 20, 64 << 20));
    }

    #[test]
    fn a_share_above_90_percent_is_refused() {
        for text in ["91", "100", "-1", "25%", "", "2.5"] {
            let error = TokenCacheBounds::read(&settings(1000, text)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "token_cache.third_party_percent: expected a whole number from 0 to 90",
                "{text:?}"
            );
        }
    }
}
