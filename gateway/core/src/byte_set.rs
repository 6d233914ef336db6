//! Sets of bytes, for texts whose every byte is looked at in each request: a table instead of comparisons.

/// A set of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteSet([bool; 256]);

impl ByteSet {
    /// These bytes.
    pub const fn of(bytes: &[u8]) -> Self {
        Self([false; 256]).with(bytes)
    }

    /// ASCII letters and digits.
    pub const fn alphanumeric() -> Self {
        Self::of(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    }

    /// These bytes too.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "in a constant function; a byte is below 256")]
    pub const fn with(mut self, bytes: &[u8]) -> Self {
        let mut next = 0;
        while next < bytes.len() {
            self.0[bytes[next] as usize] = true;
            next += 1;
        }
        self
    }

    /// Whether a byte is in the set.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
    pub const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }

    /// Whether all bytes are in the set.
    #[inline]
    pub fn has_all(&self, bytes: &[u8]) -> bool {
        // Without a branch for each byte.
        bytes.iter().fold(true, |all, byte| all & self.has(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_bytes_and_no_other() {
        const SET: ByteSet = ByteSet::alphanumeric().with(b"-\xff");
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || byte == b'-' || byte == 0xff;
            assert_eq!(SET.has(byte), expected, "{byte}");
            assert_eq!(SET.has_all(&[b'a', byte, b'z']), expected, "{byte}");
        }
        assert!(SET.has_all(b""));
    }
}
