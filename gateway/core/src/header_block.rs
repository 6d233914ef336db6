//! Header blocks: several headers of a request, rendered once for many requests.

use std::borrow::Cow;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};
use triomphe::ThinArc;

use crate::name_filter::NameBit;

/// Bytes reserved for lines that are being rendered: nearly always enough.
const ROOM: usize = 1024;

/// The name of a header in a [`HeaderBlock`], and its spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockName {
    name: HeaderName,
    spelled: Cow<'static, str>,
    bit: NameBit,
}

impl BlockName {
    /// `name` is in lower case; `spelled` is the same name as sent.
    pub const fn new(name: &'static str, spelled: &'static str) -> Self {
        Self { name: HeaderName::from_static(name), spelled: Cow::Borrowed(spelled), bit: NameBit::new(name) }
    }

    /// A name from configuration, sent as it is spelled there. `None`: it is not a header name, or it is one that
    /// frames a message or manages a connection, which a block does not change.
    pub fn parse(spelled: &str) -> Option<Self> {
        const FRAMING: [HeaderName; 7] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TE, TRAILER];
        let name = HeaderName::from_bytes(spelled.as_bytes()).ok()?;
        let bit = NameBit::of(&name);
        (!FRAMING.contains(&name)).then(|| Self { name, spelled: Cow::Owned(spelled.to_owned()), bit })
    }

    /// The name in lower case.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }
}

/// The names of a [`HeaderBlock`], shared by all blocks that have them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlockNames(Names);

/// As large as a slice: the pointer of the second variant takes the place of the length of the first.
#[derive(Debug, Clone)]
enum Names {
    Static(&'static [BlockName]),
    Configured(ThinArc<(), BlockName>),
}

impl BlockNames {
    /// Names that are known only at run time.
    pub fn new(names: Vec<BlockName>) -> Self {
        Self(Names::Configured(ThinArc::from_header_and_iter((), names.into_iter())))
    }

    /// The names.
    pub fn as_slice(&self) -> &[BlockName] {
        match &self.0 {
            Names::Static(names) => names,
            Names::Configured(names) => &names.slice,
        }
    }
}

impl PartialEq for BlockNames {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for BlockNames {}

/// Several headers, rendered once for many requests: lines as sent over the wire.
///
/// Cheap to clone, and in a single allocation: there may be as many blocks as credentials, and a request that
/// reads one waits for memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBlock(ThinArc<BlockNames, u8>);

impl HeaderBlock {
    /// Each name is set to the value at the same index, or removed if there is none.
    pub fn new<const COUNT: usize>(names: &'static [BlockName; COUNT], values: [Option<&HeaderValue>; COUNT]) -> Self {
        let mut lines = Vec::with_capacity(ROOM);
        for (name, value) in names.iter().zip(values) {
            if let Some(value) = value {
                push(&mut lines, name, value.as_bytes());
            }
        }
        Self(ThinArc::from_header_and_slice(BlockNames(Names::Static(names)), &lines))
    }

    /// Each name is set to the values of the parts, a line each, or removed if there is none. `None`: a value is not
    /// valid in a header, or no name has its index.
    ///
    /// Keep the block with what it is rendered from: all blocks with these names share their reference count, which
    /// threads that render on every request would contend for.
    pub fn of_parts<'v>(names: &BlockNames, parts: impl IntoIterator<Item = BlockPart<'v>>) -> Option<Self> {
        let mut lines = Vec::with_capacity(ROOM);
        for part in parts {
            match part {
                BlockPart::Line(line) => lines.extend_from_slice(&line.line),
                BlockPart::Value(index, value) => {
                    let name = names.as_slice().get(index).filter(|_| is_valid(&value))?;
                    push(&mut lines, name, &value);
                }
            }
        }
        Some(Self(ThinArc::from_header_and_slice(names.clone(), &lines)))
    }

    /// The names, with their bits in a [`NameFilter`](crate::request::NameFilter).
    pub fn names_with_bits(&self) -> impl Iterator<Item = (&HeaderName, NameBit)> {
        self.0.header.header.as_slice().iter().map(|name| (&name.name, name.bit))
    }

    /// All names that are set or removed.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.header.header.as_slice().iter().map(|name| &name.name)
    }

    /// The lines of the headers that are set, each with its line ending.
    pub fn lines(&self) -> &[u8] {
        &self.0.slice
    }
}

/// A part of a block.
#[derive(Debug, Clone)]
pub enum BlockPart<'v> {
    /// The value of the name with this index.
    Value(usize, Cow<'v, [u8]>),
    /// A line of one of the names.
    Line(&'v BlockLine),
}

/// A header with its value, rendered for many blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLine {
    line: Box<[u8]>,
    /// Where the value begins.
    value: usize,
}

impl BlockLine {
    /// `None`: the value is not valid in a header.
    pub fn new(name: &BlockName, value: &[u8]) -> Option<Self> {
        let mut line = Vec::new();
        is_valid(value).then(|| push(&mut line, name, value))?;
        Some(Self { line: line.into(), value: name.spelled.len() + SEPARATOR.len() })
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        self.line.get(self.value..).and_then(|rest| rest.strip_suffix(END)).unwrap_or_default()
    }
}

const SEPARATOR: &[u8] = b": ";
const END: &[u8] = b"\r\n";

fn push(lines: &mut Vec<u8>, name: &BlockName, value: &[u8]) {
    for part in [name.spelled.as_bytes(), SEPARATOR, value, END] {
        lines.extend_from_slice(part);
    }
}

/// Whether all bytes are valid. Without leaving early, so that many are looked at together.
fn is_valid(value: &[u8]) -> bool {
    value.iter().fold(true, |all, byte| all & is_valid_in_value(*byte))
}

/// As in a [`HeaderValue`]: anything but control characters, with the exception of tabs.
const fn is_valid_in_value(byte: u8) -> bool {
    (byte == b'\t') | ((byte >= b' ') & (byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_values<'v>(names: &BlockNames, values: impl IntoIterator<Item = (usize, &'v [u8])>) -> Option<HeaderBlock> {
        HeaderBlock::of_parts(names, values.into_iter().map(|(index, value)| BlockPart::Value(index, value.into())))
    }

    fn configured(names: &[&str]) -> BlockNames {
        BlockNames::new(names.iter().map(|name| BlockName::parse(name).unwrap()).collect())
    }

    #[test]
    fn a_block_has_the_lines_of_set_headers_and_the_names_of_all() {
        static NAMES: [BlockName; 3] =
            [BlockName::new("x-name", "X-Name"), BlockName::new("x-other", "X-Other"), BlockName::new("x-id", "X-ID")];
        let (bob, id) = (HeaderValue::from_static("bob"), HeaderValue::from_static("1"));
        let of_code = HeaderBlock::new(&NAMES, [Some(&bob), None, Some(&id)]);
        let names = configured(&["X-Name", "X-Other", "X-ID"]);
        let values: [(usize, &[u8]); 2] = [(0, b"bob"), (2, b"1")];
        let of_configuration = of_values(&names, values).unwrap();
        for block in [&of_code, &of_configuration] {
            assert_eq!(block.lines(), b"X-Name: bob\r\nX-ID: 1\r\n");
            assert_eq!(block.names().collect::<Vec<_>>(), ["x-name", "x-other", "x-id"]);
        }
        assert_eq!(of_code, of_configuration);
        assert_ne!(of_code, of_values(&names, [(0, &b"bob"[..])]).unwrap());
    }

    #[test]
    fn a_line_is_rendered_once() {
        let names = configured(&["X-One", "X-Two"]);
        let line = BlockLine::new(&names.as_slice()[1], b"2: two").unwrap();
        let parts = [BlockPart::Value(0, b"one"[..].into()), BlockPart::Line(&line)];
        assert_eq!(HeaderBlock::of_parts(&names, parts).unwrap().lines(), b"X-One: one\r\nX-Two: 2: two\r\n");
        assert_eq!(line.value(), b"2: two");
        assert_eq!(BlockLine::new(&names.as_slice()[0], b"a\r\nb: c"), None);
    }

    #[test]
    fn a_name_may_have_several_values() {
        let values: [(usize, &[u8]); 3] = [(1, b"a"), (1, b"b"), (0, b"")];
        let block = of_values(&configured(&["x-one", "X_Two"]), values).unwrap();
        assert_eq!(block.lines(), b"X_Two: a\r\nX_Two: b\r\nx-one: \r\n");
    }

    #[test]
    fn a_long_block_is_rendered_whole() {
        let long = [b'a'; 2000];
        let block = of_values(&configured(&["X-Long"]), [(0, &long[..])]).unwrap();
        assert_eq!(block.lines(), [&b"X-Long: "[..], &long, b"\r\n"].concat());
    }

    #[test]
    fn values_are_valid_as_the_http_library_says() {
        let names = configured(&["x-one"]);
        for byte in 0..=u8::MAX {
            let value = [b'a', byte, b'b'];
            let expected = HeaderValue::from_bytes(&value).is_ok();
            assert_eq!(of_values(&names, [(0, &value[..])]).is_some(), expected, "{byte}");
        }
    }

    #[test]
    fn a_value_of_no_name_makes_no_block() {
        assert_eq!(of_values(&configured(&["x-one"]), [(1, &b"a"[..])]), None);
    }

    #[test]
    fn configured_names_are_header_names_and_frame_no_message() {
        let refused = ["", "x one", "x:one", "x\r\none", "ä", "Host", "Transfer-Encoding", "content-length", "TE"];
        for name in refused {
            assert_eq!(BlockName::parse(name), None, "{name:?}");
        }
        assert_eq!(BlockName::parse("X-Claim").unwrap().name(), "x-claim");
    }

    #[test]
    fn names_of_both_kinds_take_the_room_of_a_slice() {
        assert_eq!(size_of::<BlockNames>(), size_of::<&[BlockName]>());
    }
}
