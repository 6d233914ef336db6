//! A filter of header names: a word that nearly always shows that a head has no header of a name.

use http::{HeaderMap, HeaderName};

/// Names that may be present: one bit each. No bit: no header; a set bit may also belong to another name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameFilter([u64; 2]);

/// The place of a name's bit: below 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameBit(u8);

impl NameFilter {
    /// The names of all headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut filter = Self::default();
        headers.keys().for_each(|name| filter.add(NameBit::of(name)));
        filter
    }

    /// Adds a name.
    #[inline]
    pub fn add(&mut self, bit: NameBit) {
        let [low, high] = &mut self.0;
        *if bit.is_high() { high } else { low } |= bit.mask();
    }

    /// Adds all names of another filter.
    #[inline]
    pub fn add_all(&mut self, Self([low, high]): Self) {
        self.0[0] |= low;
        self.0[1] |= high;
    }

    /// Whether the name may be present.
    #[inline]
    pub fn may_have(self, bit: NameBit) -> bool {
        let [low, high] = self.0;
        (if bit.is_high() { high } else { low }) & bit.mask() != 0
    }
}

impl NameBit {
    /// Of a name.
    #[inline]
    pub fn of(name: &HeaderName) -> Self {
        Self::new(name.as_str())
    }

    /// Of a name in lower case, which is not empty.
    #[expect(clippy::indexing_slicing, reason = "in a constant function; names are not empty")]
    #[inline]
    pub const fn new(name: &str) -> Self {
        let (name, length) = (name.as_bytes(), name.len());
        let ends = (name[length / 2] as u32) << 16 | (name[length * 3 / 4] as u32) << 8 | name[length - 1] as u32;
        // The upper bits of a product depend on all bits of its factors.
        let mixed = (ends ^ (length as u32) << 24).wrapping_mul(0x9e37_79b1);
        Self((mixed >> 25) as u8)
    }

    #[inline]
    const fn is_high(self) -> bool {
        self.0 >= 64
    }

    /// Its bit in its half of the filter.
    #[inline]
    const fn mask(self) -> u64 {
        1 << (self.0 & 63)
    }
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;

    #[test]
    fn every_name_of_a_map_may_be_present() {
        let names = ["host", "user-agent", "accept", "x-forwarded-for", "x", "x-one", "connection", "te"];
        let headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), http::HeaderValue::from_static(""))).collect();
        let known = NameFilter::of(&headers);
        assert!(headers.keys().all(|name| known.may_have(NameBit::of(name))));
        assert!(!NameFilter::of(&HeaderMap::new()).may_have(NameBit::of(&HOST)));
    }
}
