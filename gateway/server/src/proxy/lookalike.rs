//! Lookalike headers: headers that an upstream may take for others.
//!
//! CGI and its descendants map header names to variables (RFC 3875 §4.1.18), in which `_` and `-`,
//! and for some servers all other punctuation, are the same: such an upstream reads `X_Forwarded_Host`
//! instead of, or along with, the `X-Forwarded-Host` that we set. A header with another spelling that
//! folds to a name that we set is not forwarded.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;
use tollgate_core::byte_set::ByteSet;
use tollgate_core::request::HeaderEdit;

use super::{hop, hop_by_hop};

/// Whether a name has punctuation other than `-`: only then can it be taken for another.
pub(super) fn folds(name: &str) -> bool {
    const UNAMBIGUOUS: ByteSet = ByteSet::alphanumeric().with(b"-");
    !UNAMBIGUOUS.has_all(name.as_bytes())
}

/// Whether the name is another spelling of one that we set or remove, or that frames the
/// message. Identity headers have their own rules.
pub(super) fn is_of_ours(name: &str) -> bool {
    let framing = [CONTENT_LENGTH, TRANSFER_ENCODING];
    let set = hop::FIELDS.iter().map(|field| &field.name);
    folds(name) && set.chain(&hop_by_hop::ALWAYS).chain(&framing).any(|ours| is_same(name.as_bytes(), ours.as_str()))
}

/// Whether a name folds to one that is lower-case and has no punctuation except `-`.
pub(super) fn is_same(name: &[u8], known: &str) -> bool {
    name.len() == known.len() && name.iter().map(|byte| fold(*byte)).eq(known.bytes())
}

fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// The plugins' edits, preceded by the removal of fields that the client sent under other spellings of the
/// edited names.
pub(super) fn with_removals(client: &HeaderMap, edits: SmallVec<[HeaderEdit; 8]>) -> SmallVec<[HeaderEdit; 8]> {
    let edited = |name: &HeaderName| {
        let is_other =
            |ours: &HeaderName| ours != name && ours.as_str().bytes().map(fold).eq(name.as_str().bytes().map(fold));
        edits.iter().any(|edit| match edit {
            HeaderEdit::Set(ours, _) | HeaderEdit::Append(ours, _) | HeaderEdit::Remove(ours) => is_other(ours),
            HeaderEdit::Apply(block) => block.names().any(is_other),
        })
    };
    let lookalikes = client.keys().filter(|name| edited(name)).cloned().map(HeaderEdit::Remove);
    let mut all: SmallVec<[HeaderEdit; 8]> = lookalikes.collect();
    all.extend(edits);
    all
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn other_spellings_of_our_names_are_recognised_and_the_names_themselves_are_not() {
        let ours = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip"];
        let more =
            ["x-forwarded-path", "x-forwarded-prefix", "x-kong-request-id", "content-length", "proxy-connection"];
        for name in ours.into_iter().chain(more) {
            assert!(!is_of_ours(name), "{name}");
            let (whole, first, dots) = (name.replace('-', "_"), name.replacen('-', "_", 1), name.replace('-', "."));
            let last = name.rsplit_once('-').map(|(start, end)| format!("{start}_{end}")).unwrap();
            for spelling in [whole.to_uppercase(), whole, first, last, dots] {
                assert!(is_of_ours(&spelling), "{spelling}");
            }
        }
        for other in ["x_content", "x_forwarded", "x-forwarded_", "_", "x_request_id", "user_agent"] {
            assert!(!is_of_ours(other), "{other}");
        }
    }

    #[test]
    fn names_edited_by_plugins_are_removed_in_every_spelling() {
        let name = HeaderName::from_static;
        let client: HeaderMap = ["x_tier", "x-tier", "x.tier", "x_other", "x_gone"]
            .map(|sent| (name(sent), HeaderValue::from_static("client's")))
            .into_iter()
            .collect();
        let set = HeaderEdit::Set(name("x-tier"), HeaderValue::from_static("gold"));
        let remove = HeaderEdit::Remove(name("x-gone"));
        let all = with_removals(&client, SmallVec::from_iter([set.clone(), remove.clone()]));
        let (removed, edits) = all.split_at(all.len() - 2);
        let mut removed: Vec<_> = removed.iter().map(|edit| format!("{edit:?}")).collect();
        removed.sort();
        assert_eq!(removed, ["Remove(\"x.tier\")", "Remove(\"x_gone\")", "Remove(\"x_tier\")"]);
        assert_eq!(edits, [set, remove]);
    }
}
