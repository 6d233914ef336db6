//! Randomness as a parameter. All secrets come from the operating system's generator.

use uuid::Uuid;

const ALPHANUMERIC: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A source of random bytes.
pub trait Random: Send + Sync + 'static {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// `length` characters of `[0-9A-Za-z]`, unbiased: 5.95 bits each.
    fn alphanumeric(&self, length: usize) -> String {
        let mut text = String::with_capacity(length);
        let mut block = [0_u8; 64];
        while text.len() < length {
            self.fill(&mut block);
            // 248 is the largest multiple of 62 in a byte: rejecting the rest keeps every
            // character equally likely.
            let fair = block.iter().filter(|&&byte| byte < 248);
            let characters = fair.filter_map(|&byte| ALPHANUMERIC.get(usize::from(byte % 62)));
            text.extend(characters.map(|&byte| char::from(byte)).take(length - text.len()));
        }
        text
    }

    /// A random (version 4) UUID.
    fn uuid(&self) -> Uuid {
        let mut bytes = [0_u8; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The operating system's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::panic, reason = "without randomness no secret can be generated, and no caller can continue")]
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("cannot get random bytes from the operating system: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphanumeric_has_the_length_and_alphabet_asked_for() {
        for length in [0, 1, 32, 200] {
            let text = SystemRandom.alphanumeric(length);
            assert_eq!(text.len(), length);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}
