//! OpenSSL's check of a token's signature, without anything that a gateway does besides: the key is parsed, and so
//! are the tokens.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;
use tollgate_load::third_party::{Algorithm, Signer};

use crate::cpu;
use crate::error::{Error, Result};

/// How many checks run between two looks at the clock.
const BATCH: usize = 100;

/// Tokens to be checked, and the key.
pub struct SignatureCheck {
    algorithm: Algorithm,
    key: PKey<Public>,
    tokens: Vec<Signed>,
}

/// A token: what is signed, and the signature as OpenSSL takes it.
struct Signed {
    text: Vec<u8>,
    signature: Vec<u8>,
}

impl SignatureCheck {
    /// Of these tokens of a signer.
    pub fn new(signer: &Signer, tokens: &[String]) -> Result<Self> {
        let algorithm = signer.algorithm();
        let pem = signer.public_pem().map_err(Error::store)?;
        let key = PKey::public_key_from_pem(pem.as_bytes()).map_err(Error::store)?;
        let tokens = tokens.iter().map(|token| signed(algorithm, token)).collect::<Result<_>>()?;
        Ok(Self { algorithm, key, tokens })
    }

    /// Checks tokens in turn for as long as this; returns how many, and the CPU time. It blocks.
    pub fn run(&self, duration: Duration) -> Result<(u64, Duration)> {
        let (started, before, mut count) = (Instant::now(), cpu::of_this_thread(), 0);
        let mut tokens = self.tokens.iter().cycle();
        while started.elapsed() < duration {
            for token in tokens.by_ref().take(BATCH) {
                if !self.is_good(token).map_err(Error::store)? {
                    return Err(Error::Usage("a signature is not its token's".to_owned()));
                }
                count += 1;
            }
        }
        Ok((count, cpu::of_this_thread().saturating_sub(before)))
    }

    fn is_good(&self, token: &Signed) -> std::result::Result<bool, ErrorStack> {
        let mut verifier = match self.algorithm.digest() {
            Some(digest) => Verifier::new(digest, &self.key)?,
            None => Verifier::new_without_digest(&self.key)?,
        };
        verifier.verify_oneshot(&token.signature, &token.text)
    }
}

fn signed(algorithm: Algorithm, token: &str) -> Result<Signed> {
    let malformed = || Error::Usage("a minted token is malformed".to_owned());
    let (text, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let mut signature = URL_SAFE_NO_PAD.decode(signature).map_err(Error::store)?;
    if algorithm == Algorithm::Es256 {
        let (r, s) = signature.split_at_checked(signature.len() / 2).ok_or_else(malformed)?;
        let number = |half| BigNum::from_slice(half).map_err(Error::store);
        let der = EcdsaSig::from_private_components(number(r)?, number(s)?).and_then(|halves| halves.to_der());
        signature = der.map_err(Error::store)?;
    }
    Ok(Signed { text: text.as_bytes().to_owned(), signature })
}

#[cfg(test)]
mod tests {
    use tollgate_load::third_party::{Issuer, Kind};

    use super::*;
    use crate::stage::holders;

    #[test]
    fn a_foreign_signature_is_noticed() {
        for kind in [Kind::Rs256, Kind::Es256, Kind::Eddsa] {
            let minter = || Issuer::new(kind, ([127, 0, 0, 1], 1).into(), 0).unwrap().minter(holders(1)).unwrap();
            let (minter, other) = (minter(), minter());
            let tokens = [minter.mint(0).unwrap(), minter.mint(1).unwrap()];
            let own = SignatureCheck::new(minter.signer.as_ref().unwrap(), &tokens).unwrap();
            let (count, used) = own.run(Duration::from_millis(50)).unwrap();
            assert!(count >= BATCH as u64 && used > Duration::ZERO, "{count} {used:?}");
            let foreign = SignatureCheck::new(other.signer.as_ref().unwrap(), &tokens).unwrap();
            assert!(foreign.run(Duration::from_millis(50)).is_err());
        }
    }
}
