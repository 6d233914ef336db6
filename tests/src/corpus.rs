//! The corpus of requests (`tests/corpus`): what is sent, and where each request of it ends.
//!
//! A file of HTTP/1.1 messages is a list of cases, separated by empty lines. A line begins with what it is:
//!
//! | | |
//! |---|---|
//! | `=` | the name |
//! | `>` | a request that reaches the upstream: method, target, body. `> closes`: no request follows it |
//! | `!` | a status: the message is refused, and the connection is closed. `! incomplete`: the message never ends |
//! | `~` | `SERVER STATUS`: a server behind the gateway refuses the requests, although it finds the same ones |
//! | `\|` | bytes, with the escapes `\r \n \t \0 \\ \xHH` |

use std::fs;

/// A message of one or more requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// File and name.
    pub name: String,
    /// The requests that reach the upstream: `METHOD TARGET BODY`.
    pub requests: Vec<String>,
    /// What follows them.
    pub end: End,
    /// Servers that refuse the requests, and the status.
    pub refused_by: Vec<(String, u16)>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What follows the requests of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The next request on the connection.
    Next,
    /// Nothing: the client has said so.
    Closed,
    /// This status, and the end of the connection.
    Refused(u16),
    /// The client disconnects within the message.
    Incomplete,
}

/// The HTTP/1.1 messages, in order.
pub fn http1() -> Vec<Case> {
    blocks("http1").iter().map(|(file, block)| case(file, block)).collect()
}

/// The cases in all files of a folder of `tests/corpus` as text, with the names of their files.
pub fn blocks(folder: &str) -> Vec<(String, String)> {
    let folder = crate::repository().join("tests/corpus").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder).expect("a folder").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let blocks = files.iter().flat_map(|file| {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(file).expect("a text file");
        text.split("\n\n").map(|block| (stem.clone(), block.to_owned())).collect::<Vec<_>>()
    });
    blocks.collect()
}

fn case(file: &str, block: &str) -> Case {
    let (name, requests, refused_by) = (String::new(), Vec::new(), Vec::new());
    let mut case = Case { name, requests, end: End::Next, refused_by, bytes: Vec::new() };
    for line in block.lines() {
        let (kind, text) = line.split_at(1);
        let text = text.strip_prefix(' ').unwrap_or(text);
        match (kind, text) {
            ("=", name) => case.name = format!("{file}: {name}"),
            (">", "closes") => case.end = End::Closed,
            (">", request) => case.requests.push(request.to_owned()),
            ("!", "incomplete") => case.end = End::Incomplete,
            ("!", status) => case.end = End::Refused(status.parse().expect("a status")),
            ("~", refusal) => {
                let (server, status) = refusal.split_once(' ').expect("a server and a status");
                case.refused_by.push((server.to_owned(), status.parse().expect("a status")));
            }
            ("|", bytes) => case.bytes.extend(unescape(bytes)),
            _ => panic!("{file}: {line:?} does not begin with one of = > ! ~ |"),
        }
    }
    assert!(
        !case.name.is_empty() && !case.bytes.is_empty(),
        "{file}: a case without a name or without bytes: {block:?}"
    );
    case
}

/// The bytes that a text with escapes stands for.
pub fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let (byte, length) = match (first, after.first()) {
            (b'\\', Some(b'r')) => (b'\r', 1),
            (b'\\', Some(b'n')) => (b'\n', 1),
            (b'\\', Some(b't')) => (b'\t', 1),
            (b'\\', Some(b'0')) => (0, 1),
            (b'\\', Some(b'\\')) => (b'\\', 1),
            (b'\\', Some(b'x')) => (u8::from_str_radix(std::str::from_utf8(&after[1..3]).unwrap(), 16).unwrap(), 3),
            (b'\\', _) => panic!("unknown escape in {text:?}"),
            (byte, _) => (*byte, 0),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_as_it_is_written() {
        let block = "= a name\n> GET /x\n> POST /y abc\n! 400\n~ nginx 405\n| GET\\r\\n\n| \\0\\x7f\\\\a\\t";
        let expected = Case {
            name: "file: a name".to_owned(),
            requests: vec!["GET /x".to_owned(), "POST /y abc".to_owned()],
            end: End::Refused(400),
            refused_by: vec![("nginx".to_owned(), 405)],
            bytes: b"GET\r\n\0\x7f\\a\t".to_vec(),
        };
        assert_eq!(case("file", block), expected);
    }
}
