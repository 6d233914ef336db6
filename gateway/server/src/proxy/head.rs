//! Message heads that are forwarded with edits.
//!
//! Fields that we add are not put into Pingora's map of headers but written as lines after it, which costs
//! a copy each and neither a hash nor an allocation. For a line to replace the sender's
//! field, the map must not contain the name: a single word nearly always shows that it
//! does not ([`NameFilter`]).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate_core::request::{HeaderBlock, NameBit, NameFilter};

use super::lines::{LineName, Lines};

/// A header field that the gateway sets: its name and spelling.
#[derive(Debug, Clone)]
pub struct Field {
    pub(crate) name: HeaderName,
    spelled: LineName,
    bit: NameBit,
}

impl Field {
    /// `name` is in lower case, and `spelled` is the same name.
    pub const fn new(name: &'static str, spelled: &'static str) -> Self {
        Self { name: HeaderName::from_static(name), spelled: LineName::new(spelled), bit: NameBit::new(name) }
    }
}

/// A head with edits.
pub trait Head {
    /// The sender's fields, except those edited away.
    fn headers(&self) -> &HeaderMap;
    /// Whether the sender has a field with this name.
    fn has(&self, field: &Field) -> bool;
    /// Replaces all values of a field. A value that is not valid in a header is omitted.
    fn set(&mut self, field: &Field, value: &[u8]);
    /// The same, for a name that is not known at compile time and a checked value.
    fn set_header(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Adds a value to the existing ones.
    fn append(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Sets and removes fields rendered beforehand.
    fn apply(&mut self, block: &HeaderBlock);
    /// Removes all values of a name.
    fn remove(&mut self, name: &HeaderName);
}

/// A Pingora head with edits.
pub struct Edited<'h, H> {
    head: &'h mut H,
    /// Names that the map may contain: received, or set by us.
    sent: NameFilter,
    /// Names that the lines may contain.
    added: NameFilter,
}

impl<'h, H: Lines> Edited<'h, H> {
    /// `room`: the number of bytes reserved for lines.
    pub fn new(head: &'h mut H, room: usize) -> Self {
        let sent = NameFilter::of(head.headers());
        head.reserve_lines(room);
        Self { head, sent, added: NameFilter::default() }
    }

    /// Whether the sender may have a field with this name.
    pub(crate) fn may_have(&self, name: &HeaderName) -> bool {
        self.sent.may_have(NameBit::of(name))
    }

    fn remove_bit(&mut self, name: &HeaderName, bit: NameBit) {
        if self.sent.may_have(bit) {
            self.head.remove(name);
        }
        if self.added.may_have(bit) {
            self.head.remove_lines(name);
        }
    }
}

/// Pingora reads these from the map, to frame the message and to keep the connection.
fn is_read_by_pingora(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE].contains(name)
}

impl<H: Lines> Head for Edited<'_, H> {
    fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    fn has(&self, field: &Field) -> bool {
        self.sent.may_have(field.bit) && self.head.headers().contains_key(&field.name)
    }

    fn set(&mut self, field: &Field, value: &[u8]) {
        self.remove_bit(&field.name, field.bit);
        self.added.add(field.bit);
        self.head.push_line(field.spelled, value);
    }

    fn set_header(&mut self, name: &HeaderName, value: &HeaderValue) {
        let bit = NameBit::of(name);
        if is_read_by_pingora(name) {
            if self.added.may_have(bit) {
                self.head.remove_lines(name);
            }
            self.head.insert(name, value);
            self.sent.add(bit);
        } else {
            self.remove_bit(name, bit);
            self.added.add(bit);
            self.head.push_header(name, value);
        }
    }

    fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.added.add(NameBit::of(name));
        self.head.push_header(name, value);
    }

    fn apply(&mut self, block: &HeaderBlock) {
        let mut of_block = NameFilter::default();
        for (name, bit) in block.names_with_bits() {
            self.remove_bit(name, bit);
            of_block.add(bit);
        }
        // Only now: names of one block differ, and their bits would lead to a search for each that has the bit of an
        // earlier one.
        self.added.add_all(of_block);
        self.head.push_lines(block.lines());
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_bit(name, NameBit::of(name));
    }
}

#[cfg(test)]
mod tests {
    use pingora::http::RequestHeader;
    use tollgate_core::request::{BlockName, BlockNames, BlockPart};

    use super::*;

    const ONE: Field = Field::new("x-one", "X-One");

    fn head(pairs: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in pairs {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn written(head: &RequestHeader) -> String {
        let mut text = Vec::new();
        head.header_to_h1_wire(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_set_field_replaces_the_senders() {
        let mut request = head(&[("X-One", "theirs"), ("x-one", "again"), ("SOAPAction", "x")]);
        Edited::new(&mut request, 0).set(&ONE, b"ours");
        assert_eq!(written(&request), "SOAPAction: x\r\nX-One: ours\r\n");
        let mut request = head(&[("X-Two", "theirs")]);
        let two = HeaderName::from_static("x-two");
        Edited::new(&mut request, 0).set_header(&two, &HeaderValue::from_static("ours"));
        assert_eq!(written(&request), "x-two: ours\r\n");
    }

    #[test]
    fn an_appended_value_is_added_to_the_rest() {
        let mut request = head(&[("Vary", "Accept")]);
        let vary = HeaderName::from_static("vary");
        let mut edited = Edited::new(&mut request, 0);
        edited.append(&vary, &HeaderValue::from_static("Origin"));
        edited.append(&vary, &HeaderValue::from_static("Cookie"));
        assert_eq!(written(&request), "Vary: Accept\r\nvary: Origin\r\nvary: Cookie\r\n");
        let mut edited = Edited::new(&mut request, 0);
        edited.append(&vary, &HeaderValue::from_static("X"));
        edited.remove(&vary);
        assert!(!written(&request).contains("X"), "{}", written(&request));
    }

    #[test]
    fn the_last_value_set_wins() {
        let mut request = head(&[]);
        let mut edited = Edited::new(&mut request, 0);
        edited.set(&ONE, b"first");
        edited.set_header(&ONE.name, &HeaderValue::from_static("second"));
        edited.set(&Field::new("x-two", "X-Two"), b"first");
        edited.remove(&HeaderName::from_static("x-two"));
        assert_eq!(written(&request), "x-one: second\r\n");
    }

    #[test]
    fn a_block_replaces_all_its_names() {
        let mut request = head(&[("X-One", "theirs"), ("X-Two", "theirs"), ("X-Three", "theirs")]);
        let mut edited = Edited::new(&mut request, 0);
        edited.set(&ONE, b"first");
        let ours = HeaderValue::from_static("ours");
        static ONE_AND_TWO: [BlockName; 2] = [BlockName::new("x-one", "X-One"), BlockName::new("x-two", "X-Two")];
        static THREE: [BlockName; 1] = [BlockName::new("x-three", "X-Three")];
        edited.apply(&HeaderBlock::new(&ONE_AND_TWO, [Some(&ours), None]));
        assert_eq!(written(&request), "X-Three: theirs\r\nX-One: ours\r\n");
        let mut edited = Edited::new(&mut request, 0);
        edited.apply(&HeaderBlock::new(&THREE, [Some(&ours)]));
        edited.set(&Field::new("x-three", "X-Three"), b"last");
        assert!(written(&request).ends_with("\r\nX-Three: last\r\n"), "{}", written(&request));
    }

    #[test]
    fn a_block_of_configured_names_replaces_them_in_any_letter_case() {
        let mut request = head(&[("X-ONE", "theirs"), ("x-two", "theirs"), ("X-Three", "theirs")]);
        let names = BlockNames::new(["X-Two", "X-one"].map(|name| BlockName::parse(name).unwrap()).to_vec());
        let values = [&b"ours"[..], b"too"].map(|value| BlockPart::Value(1, value.into()));
        let block = HeaderBlock::of_parts(&names, values).unwrap();
        Edited::new(&mut request, 0).apply(&block);
        assert_eq!(written(&request), "X-Three: theirs\r\nX-one: ours\r\nX-one: too\r\n");
    }

    #[test]
    fn fields_that_pingora_reads_stay_in_the_map() {
        let mut request = head(&[("Host", "a.test")]);
        Edited::new(&mut request, 0).set_header(&HOST, &HeaderValue::from_static("b.test"));
        assert_eq!(
            (&request.headers[HOST], written(&request).as_str()),
            (&HeaderValue::from_static("b.test"), "Host: b.test\r\n")
        );
    }

    #[test]
    fn a_field_put_into_the_map_can_be_removed_again() {
        let mut request = head(&[]);
        let mut edited = Edited::new(&mut request, 0);
        edited.set_header(&HOST, &HeaderValue::from_static("a.test"));
        edited.remove(&HOST);
        assert_eq!(written(&request), "");
    }

    #[test]
    fn an_invalid_value_is_omitted_and_the_name_removed() {
        let mut request = head(&[("X-One", "theirs")]);
        Edited::new(&mut request, 0).set(&ONE, b"a\r\nX-Two: b");
        assert_eq!(written(&request), "");
    }
}
