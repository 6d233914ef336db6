//! Text that is sent upstream in header values: what a recipient reads unchanged, and how long it may be.
//!
//! The bound is the node's (`limits.header_value_bytes`): it is set once at start, before anything is read or written,
//! and every place that takes such text checks it here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The default bound. Servers commonly accept a field of 8 KiB and a head of 16 KiB.
pub const DEFAULT_MAX_BYTES: usize = 4096;

static MAX_BYTES: AtomicUsize = AtomicUsize::new(DEFAULT_MAX_BYTES);
static TOO_LONG: AtomicU64 = AtomicU64::new(0);

/// The most bytes of one value.
pub fn max_bytes() -> usize {
    MAX_BYTES.load(Ordering::Relaxed)
}

/// Sets the bound of this process.
pub fn set_max_bytes(bytes: usize) {
    MAX_BYTES.store(bytes, Ordering::Relaxed);
}

/// Whether the text is longer than the bound; counted.
pub fn is_too_long(text: &str) -> bool {
    let too_long = text.len() > max_bytes();
    if too_long {
        TOO_LONG.fetch_add(1, Ordering::Relaxed);
    }
    too_long
}

/// How often a text was too long.
pub fn too_long() -> u64 {
    TOO_LONG.load(Ordering::Relaxed)
}

/// Checks text that is to be stored; `Err` is the message for the client.
///
/// # Errors
/// Recipients would read another text, or might refuse it.
pub fn check(text: &str) -> Result<(), String> {
    if text.contains(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    if text.trim() != text {
        return Err("must not begin or end with white space".to_owned());
    }
    if is_too_long(text) {
        return Err(format!("must not be longer than {} bytes", max_bytes()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_refused_from_one_byte_too_many() {
        assert_eq!(check(&"é".repeat(2048)), Ok(()));
        let before = too_long();
        assert_eq!(check(&"a".repeat(4097)), Err("must not be longer than 4096 bytes".to_owned()));
        assert!(too_long() > before);
    }
}
