//! Lists of tokens, minted with a gateway's key or forged, and the orders in which they are sent.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate_core::random::{Random as _, SystemRandom};
use tollgate_oauth2::token::{ChecksumKey, OwnTokens, TOKEN_LENGTH};

use crate::error::{Error, Result};

/// Length of an order: long enough not to repeat within a step.
const DRAWS: usize = 1 << 20;

/// Clear tokens, concatenated.
#[derive(Debug, Clone)]
pub struct TokenList(String);

impl TokenList {
    /// Tokens as issued by the gateway with this key.
    pub fn mint(key: ChecksumKey, count: usize) -> Self {
        let own_tokens = OwnTokens::new(key, Vec::new());
        Self(
            (0..count)
                .map(|_| own_tokens.mint(&SystemRandom))
                .fold(String::with_capacity(count * TOKEN_LENGTH), |list, token| list + token.expose()),
        )
    }

    /// Forged tokens: well-formed, with a wrong checksum.
    pub fn forge(count: usize) -> Self {
        Self(SystemRandom.alphanumeric(count * TOKEN_LENGTH))
    }

    /// The tokens.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let places = (0..self.0.len()).step_by(TOKEN_LENGTH);
        places.filter_map(|place| self.0.get(place..place + TOKEN_LENGTH))
    }

    /// Every `step`th of them.
    pub fn every(&self, step: usize) -> Self {
        Self(self.iter().step_by(step.max(1)).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() / TOKEN_LENGTH
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them for the generator.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, &self.0).map_err(Error::system("cannot write a list of tokens"))?;
        Ok(path)
    }
}

/// Writes an order of `count` items by Zipf's law with exponent 1: the first is requested twice as often as the
/// second, and so on. It is deterministic.
pub fn write_zipf_order(folder: &Path, name: &str, count: usize) -> Result<PathBuf> {
    let bytes: Vec<u8> = zipf(count, DRAWS).flat_map(u32::to_le_bytes).collect();
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(Error::system("cannot write an order of tokens"))?;
    Ok(path)
}

fn zipf(count: usize, draws: usize) -> impl Iterator<Item = u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut state = 0x7011_6a7e_u64;
    (0..draws).map(move |_| {
        let drawn = (splitmix(&mut state) >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        u32::try_from(sums.partition_point(|&sum| sum < drawn).min(count.saturating_sub(1))).unwrap_or_default()
    })
}

/// SplitMix64: the next number of a fixed pseudorandom sequence.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use tollgate_oauth2::token::Shape;

    use super::*;

    #[test]
    fn minted_tokens_pass_the_gateways_checksum_and_forged_ones_do_not() {
        let own_tokens = OwnTokens::new([7; 32], Vec::new());
        let minted = TokenList::mint([7; 32], 10);
        assert_eq!(minted.len(), 10);
        assert!(minted.iter().all(|token| own_tokens.is_ours(token) == Shape::Genuine));
        assert!(TokenList::forge(10).iter().all(|token| own_tokens.is_ours(token) == Shape::Foreign));
        assert_eq!(minted.every(5).iter().collect::<Vec<_>>(), minted.iter().step_by(5).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_item_is_requested_twice_as_often_as_the_second() {
        let mut counts = [0_u32; 1000];
        zipf(1000, 200_000).for_each(|place| counts[place as usize] += 1);
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        assert!(counts.iter().all(|&count| count > 0));
    }
}
