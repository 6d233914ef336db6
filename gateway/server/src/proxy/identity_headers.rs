//! The headers that tell an upstream who a request is from.
//!
//! Upstreams believe them, so they come from us or not at all: whatever a client sends under one
//! of these names is removed before the plugins run, on every route, in every spelling that folds to
//! it (see [`lookalike`](super::lookalike)).

use super::lookalike::is_same;

/// Names with a fixed meaning, lower-case.
const NAMES: [&str; 8] = [
    "x-consumer-id",
    "x-consumer-custom-id",
    "x-consumer-username",
    "x-consumer-groups",
    "x-authenticated-scope",
    "x-authenticated-userid",
    "x-authenticated-groups",
    "x-anonymous-consumer",
];

/// What the names of credentials' facts begin with: `X-Credential-Identifier`, and one for each
/// claim that token introspection forwards, custom ones among them.
const CREDENTIAL: &str = "x-credential-";

/// Whether a header of this name, in any case and with any punctuation for `-`, is an identity header.
pub(crate) fn is_identity(name: &str) -> bool {
    let name = name.as_bytes();
    // Nearly every header leaves here.
    if !matches!(name, [b'x' | b'X', mark, b'a' | b'A' | b'c' | b'C', ..] if !mark.is_ascii_alphanumeric()) {
        return false;
    }
    let is_credential = name.get(..CREDENTIAL.len()).is_some_and(|start| is_same(start, CREDENTIAL));
    is_credential || NAMES.iter().any(|known| is_same(name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_headers_are_known_in_every_spelling() {
        let names = [
            "X-Consumer-ID",
            "X-Consumer-Custom-ID",
            "X-Consumer-Username",
            "X-Consumer-Groups",
            "X-Credential-Identifier",
            "X-Credential-Client-ID",
            "X-Credential-Some-Claim",
            "X-Authenticated-Scope",
            "X-Authenticated-UserId",
            "X-Authenticated-Groups",
            "X-Anonymous-Consumer",
        ];
        for name in names {
            let one_folded = name.replacen('-', "_", 1);
            let spellings = [
                name.to_owned(),
                name.to_lowercase(),
                name.to_uppercase(),
                name.replace('-', "_"),
                name.replace('-', "."),
                one_folded,
            ];
            for spelling in spellings {
                assert!(is_identity(&spelling), "{spelling}");
            }
        }
    }

    #[test]
    fn what_a_plugin_says_of_identity_no_client_can_say() {
        for plugin in crate::plugins::all() {
            for name in plugin.identity_headers() {
                // One that ends in a dash stands for all that begin so.
                let name = if name.ends_with('-') { format!("{name}any") } else { (*name).to_owned() };
                assert!(is_identity(&name) && is_identity(&name.replace('-', "_")), "{}: {name}", plugin.name());
            }
        }
    }

    #[test]
    fn other_headers_are_not_identity_headers() {
        let names = [
            "",
            "x",
            "x-",
            "x-c",
            "host",
            "cookie",
            "x-consumer",
            "x-consumer-idx",
            "x-cache",
            "x-credential",
            "xconsumer-id",
        ];
        for name in names {
            assert!(!is_identity(name), "{name}");
        }
    }
}
