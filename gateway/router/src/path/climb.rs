//! Paths that leave their route or service in the eyes of an upstream (gateway.md §6).
//!
//! A path in normal form has no dot segments. Many servers read it once more, each in its own way, and find
//! some: they take `%2F` or a backslash for a separator, drop what follows a semicolon, or decode twice. Which
//! of them the upstream is, nobody knows here, so a path is tried in all of these ways ([`Reader`]).
//!
//! 1. [`leaves`] is about what is sent: dot segments that lead out of the service's path.
//! 2. [`resolved`] is about what was asked: the paths that an upstream may serve instead, which must belong to
//!    the same route.

/// How a server may read a path, beyond removing dot segments.
#[derive(Debug, Clone, Copy)]
struct Reader {
    /// How often it decodes escapes before it looks for segments.
    decodings: u8,
    /// Whether a decoded slash separates segments.
    slash: Separator,
    /// Whether a backslash does.
    backslash: Separator,
    parameters: Parameters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Yes,
    No,
}

/// What becomes of a semicolon and the rest of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Kept,
    DroppedBeforeDecoding,
    DroppedAfterDecoding,
    /// As by servers in a row, each of which decodes once.
    DroppedAfterEachDecoding,
}

/// Stands for a decoded slash that does not separate: no path contains NUL.
const DATA_SLASH: u8 = 0;

fn readers() -> impl Iterator<Item = Reader> {
    use Parameters::{DroppedAfterDecoding, DroppedAfterEachDecoding, DroppedBeforeDecoding, Kept};
    let separators = [Separator::Yes, Separator::No];
    // The ones that decode and split most find most: they come first.
    [1, 2, 0].into_iter().flat_map(move |decodings| {
        separators.into_iter().flat_map(move |slash| {
            separators.into_iter().flat_map(move |backslash| {
                let parameters = [DroppedAfterDecoding, DroppedBeforeDecoding, DroppedAfterEachDecoding, Kept];
                parameters.into_iter().map(move |parameters| Reader { decodings, slash, backslash, parameters })
            })
        })
    })
}

impl Reader {
    /// The segments that it sees; empty ones and `.` are nothing to it.
    fn segments(self, path: &str) -> Vec<Vec<u8>> {
        let mut text = path.as_bytes().to_vec();
        if self.parameters == Parameters::DroppedBeforeDecoding {
            text = text.split(|byte| *byte == b'/').map(without_parameters).collect::<Vec<_>>().join(&b'/');
        }
        for _ in 0..self.decodings {
            text = self.decode(&text);
            if self.parameters == Parameters::DroppedAfterEachDecoding {
                text = self.without_any_parameters(&text);
            }
        }
        let separates = |byte: &u8| self.separates(*byte);
        let after = self.parameters == Parameters::DroppedAfterDecoding;
        let segments = text.split(separates).map(|segment| if after { without_parameters(segment) } else { segment });
        segments.filter(|segment| !matches!(*segment, b"" | b".")).map(<[u8]>::to_vec).collect()
    }

    fn separates(self, byte: u8) -> bool {
        byte == b'/' || byte == b'\\' && self.backslash == Separator::Yes
    }

    /// Without the parameters of every segment.
    fn without_any_parameters(self, text: &[u8]) -> Vec<u8> {
        let mut within = false;
        let kept = text.iter().filter(|byte| {
            within = !self.separates(**byte) && (within || **byte == b';');
            !within
        });
        kept.copied().collect()
    }

    /// Decodes every complete escape.
    fn decode(self, text: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match (byte, escaped(after)) {
                (b'%', Some((value, after))) => {
                    decoded.push(if value == b'/' && self.slash == Separator::No { DATA_SLASH } else { value });
                    rest = after;
                }
                _ => decoded.push(*byte),
            }
        }
        decoded
    }
}

/// The value of the two hexadecimal digits at the beginning, and what follows them.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some((u8::from_str_radix(digits, 16).ok()?, rest))
}

fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|byte| *byte == b';').next().unwrap_or_default()
}

fn climbs(segment: &[u8]) -> bool {
    segment == b".."
}

/// Whether dot segments lead out of the service's path (`None` is `/`) for one of the readers. `sent` is what
/// [`upstream_path`](super::upstream_path) has made of it and of the request's path.
pub fn leaves(service_path: Option<&str>, sent: &str) -> bool {
    readers().any(|reader| {
        let base = reader.segments(service_path.unwrap_or_default()).len();
        let mut depth = 0_usize;
        reader.segments(sent).iter().skip(base).any(|segment| {
            if !climbs(segment) {
                depth += 1;
                return false;
            }
            depth.checked_sub(1).is_none_or(|above| {
                depth = above;
                false
            })
        })
    })
}

/// The paths that readers who find dot segments make of one in normal form; each once.
pub fn resolved(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for reader in readers() {
        let segments = reader.segments(path);
        if !segments.iter().any(|segment| climbs(segment)) {
            continue;
        }
        let text = resolve(&segments, path.ends_with('/'));
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// A path that ends in a dot segment ends in a slash (RFC 3986 §5.2.4).
fn resolve(segments: &[Vec<u8>], ends_in_slash: bool) -> String {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in segments {
        if climbs(segment) {
            kept.pop();
        } else {
            kept.push(segment);
        }
    }
    let text = kept.iter().flat_map(|segment| [b"/", *segment]).collect::<Vec<_>>().concat();
    let mut text = String::from_utf8_lossy(&text).replace('\0', "%2F");
    if text.is_empty() || ends_in_slash || segments.last().is_some_and(|segment| climbs(segment)) {
        text.push('/');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tollgate_core::path::{Dots, read};

    use super::*;
    use crate::MatchedPath;
    use crate::path::{Strip, upstream_path};

    #[test]
    fn dot_segments_that_lead_out_of_the_service_are_found() {
        let climbing = [
            "..%2Fx",
            "..%2F..%2Fx",
            "..;/x",
            "..;a=b/x",
            "..%3B/x",
            "..%5Cx",
            "a/..;/..;/x",
            "a%2F..%2F..%2Fx",
            "%252e%252e/x",
            "%252e%252e%252fx",
            "..%252Fx",
            "..%255Cx",
            ".%252e/x",
            "a;%2F..%2F..%2Fx",
            // For two servers in a row, each of which decodes and then drops parameters.
            "%252F.;a%252Fb;%5C..",
            // For those who do not split at the encoded slash.
            "a%2Fb/..;/..;/x",
            "a%2Fb/..%5C..%5Cx",
            "..;a%2Fb",
        ];
        let staying = [
            "group%2Fproject",
            "a..b",
            "..a%2F",
            "a%2F..",
            "a%2F..%2Fb",
            "a/..;/b",
            "a/b/..%2Fc",
            "...%2Fx",
            "a;..%2Fx",
            "100%25",
            "a%252Fb",
            ".%2Fx",
            "..%20/x",
        ];
        for (service, base) in [(None, "/"), (Some("/"), "/"), (Some("/v1"), "/v1/"), (Some("/v1/x/"), "/v1/x/")] {
            for rest in climbing {
                assert!(leaves(service, &format!("{base}{rest}")), "{service:?} {rest}");
            }
            for rest in staying {
                assert!(!leaves(service, &format!("{base}{rest}")), "{service:?} {rest}");
            }
        }
    }

    #[test]
    fn what_others_may_serve_instead_is_known() {
        let all = |path: &str| {
            let mut all = resolved(path);
            all.sort();
            all
        };
        assert_eq!(all("/api/..%2Fadmin"), ["/admin"]);
        assert_eq!(all("/api/..;/admin"), ["/admin"]);
        assert_eq!(all("/api/x%2Fy/..;/z"), ["/api/x/z", "/api/z"]);
        assert_eq!(all("/api/x/..%2F"), ["/api/"]);
        assert_eq!(all("/api/x/..;"), ["/api/"]);
        assert_eq!(all("/..%2F.."), ["/"]);
        assert_eq!(all("/group%2Fproject"), Vec::<String>::new());
        assert_eq!(all("/a..b"), Vec::<String>::new());
    }

    /// What common servers make of a path before they look for a file or a handler.
    mod models {
        /// Its name, and how it reads a path.
        type Reader = (&'static str, fn(&str) -> String);

        pub(super) const ALL: [Reader; 7] = [
            ("decodes once", once),
            ("decodes segment by segment", by_segment),
            ("drops parameters, then decodes", parameters_first),
            ("decodes, then drops parameters", parameters_last),
            ("drops parameters only", without_parameters),
            ("decodes, with backslashes as slashes", backslashes),
            ("decodes twice, with backslashes as slashes", twice),
        ];

        fn decode(text: &str) -> String {
            let mut out = String::new();
            let mut characters = text.chars();
            while let Some(character) = characters.next() {
                let digits: String = characters.clone().take(2).collect();
                match u8::from_str_radix(&digits, 16) {
                    Ok(value) if character == '%' => {
                        out.push(char::from(value));
                        characters.nth(1);
                    }
                    _ => out.push(character),
                }
            }
            out
        }

        fn once(path: &str) -> String {
            decode(path)
        }

        fn by_segment(path: &str) -> String {
            path.split('/').map(decode).collect::<Vec<_>>().join("/")
        }

        fn without_parameters(path: &str) -> String {
            path.split('/').filter_map(|segment| segment.split(';').next()).collect::<Vec<_>>().join("/")
        }

        fn parameters_first(path: &str) -> String {
            decode(&without_parameters(path))
        }

        fn parameters_last(path: &str) -> String {
            without_parameters(&decode(path))
        }

        fn backslashes(path: &str) -> String {
            decode(path).replace('\\', "/")
        }

        fn twice(path: &str) -> String {
            decode(&decode(path)).replace('\\', "/")
        }

        /// The path that is served.
        pub(super) fn served(read: &str) -> String {
            let mut kept = Vec::new();
            for segment in read.split('/').filter(|segment| !matches!(*segment, "" | ".")) {
                match segment {
                    ".." => {
                        kept.pop();
                    }
                    _ => kept.push(segment),
                }
            }
            format!("/{}", kept.join("/"))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_sent_is_below_the_service_for_every_common_reader(
            rest in "(a|b|/|;|\\.|\\.\\.|%2[eEfF]|%5[cC]|\\\\|%25(2[eEfF]|5c|3b)|%3b|\\.\\.[;/%]2f|/%2e%2e;/){0,12}",
            strip in prop_oneof![Just(Strip::Matched), Just(Strip::Nothing)],
        ) {
            let raw = format!("/api/{rest}");
            let Ok(normal) = read(&raw) else { return Ok(()) };
            prop_assume!(normal.path.starts_with("/api/"));
            let sent = upstream_path(Some("/v1/x"), &normal.path, MatchedPath::Prefix("/api/".len()), strip);
            let outside = models::ALL.iter().find(|(_, model)| {
                let served = models::served(&model(&sent));
                served != "/v1/x" && !served.starts_with("/v1/x/")
            });
            if let Some((name, _)) = outside {
                prop_assert!(normal.dots == Dots::Possible && leaves(Some("/v1/x"), &sent), "{}: {} sent as {}", name, raw, sent);
            }
            // The paths that others serve are among those that are looked up again.
            if normal.dots == Dots::Possible {
                let resolved = resolved(&normal.path);
                for (name, model) in models::ALL {
                    let read = model(&normal.path);
                    let served = models::served(&read);
                    let known = resolved.iter().any(|path| path.trim_end_matches('/') == served.trim_end_matches('/'));
                    let climbs = read.split('/').any(|segment| segment == "..");
                    prop_assert!(known || !climbs, "{}: {} is {}, not of {:?}", name, raw, served, resolved);
                }
            }
        }
    }
}
