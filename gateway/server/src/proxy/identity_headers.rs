//! Identity headers: the headers that tell an upstream who a request is from.
//!
//! Upstreams trust them, so they come only from us: whatever a client sends under one
//! of these names is removed before the plugins run, on every route, in every spelling that folds to
//! it (see [`lookalike`](super::lookalike)).
//!
//! They are those of the compatible gateway, including its plugins that Tollgate does not have, and those
//! declared by the plugins of this gateway.

use super::hop_by_hop;
use super::lookalike::is_same;

/// Those of the compatible gateway, lower-case. A name that ends in `-` is a prefix:
/// `X-Credential-Identifier`, and one for each claim that token introspection forwards.
const COMPATIBLE: [&str; 9] = [
    "x-consumer-id",
    "x-consumer-custom-id",
    "x-consumer-username",
    "x-consumer-groups",
    "x-credential-",
    "x-authenticated-scope",
    "x-authenticated-userid",
    "x-authenticated-groups",
    "x-anonymous-consumer",
];

/// Shorter names have no third letter to be recognised by; longer ones are a mistake.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=64;

/// The names of identity headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The bits of the names' first bytes: see [`bits`].
    first: u32,
    /// The bits of their third bytes.
    third: u32,
    names: Box<[&'static str]>,
    prefixes: Box<[&'static str]>,
}

/// A plugin declares an invalid identity header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "identity header {name:?} of plugin {plugin}: expected 3 to 64 lower-case letters, digits and dashes, starting \
         with a letter, and not a header that requests need"
)]
pub struct InvalidName {
    /// The plugin.
    pub plugin: &'static str,
    /// The name.
    pub name: &'static str,
}

impl Default for IdentityHeaders {
    /// Only those of the compatible gateway.
    fn default() -> Self {
        Self::of(COMPATIBLE.to_vec())
    }
}

impl IdentityHeaders {
    /// Those of the compatible gateway and those of these plugins, given with the plugin's name.
    ///
    /// # Errors
    /// A plugin declares an invalid identity header.
    pub fn with_plugins(
        plugins: impl IntoIterator<Item = (&'static str, &'static [&'static str])>,
    ) -> Result<Self, InvalidName> {
        let mut names = COMPATIBLE.to_vec();
        for (plugin, of_plugin) in plugins {
            if let Some(name) = of_plugin.iter().find(|name| !is_valid(name)) {
                return Err(InvalidName { plugin, name });
            }
            names.extend_from_slice(of_plugin);
        }
        Ok(Self::of(names))
    }

    fn of(mut names: Vec<&'static str>) -> Self {
        names.sort_unstable();
        names.dedup();
        let (first, third) = (bits(&names, 0), bits(&names, 2));
        let (prefixes, names) = names.into_iter().partition::<Vec<_>, _>(|name| name.ends_with('-'));
        Self { first, third, names: names.into(), prefixes: prefixes.into() }
    }

    /// Whether a header with this name, in any case and with any punctuation for `-`, is one of them.
    #[inline]
    pub(crate) fn contains(&self, name: &str) -> bool {
        let may_be = |bits: u32, byte: u8| bits >> (byte & 31) & 1 == 1;
        let [first, _, third, ..] = name.as_bytes() else { return false };
        // Nearly every header returns here.
        if !may_be(self.first, *first) || !may_be(self.third, *third) {
            return false;
        }
        self.is_one_of(name.as_bytes())
    }

    fn is_one_of(&self, name: &[u8]) -> bool {
        let begins = |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| is_same(start, prefix));
        self.names.iter().any(|known| is_same(name, known)) || self.prefixes.iter().any(begins)
    }
}

/// One bit for each byte that names have at this position, by its lower five bits: these are the same in
/// both cases of a letter, and different between letters. All bits for a dash, which folds.
fn bits(names: &[&str], place: usize) -> u32 {
    let bytes = names.iter().filter_map(|name| name.as_bytes().get(place));
    bytes.fold(0, |bits, byte| if *byte == b'-' { u32::MAX } else { bits | 1 << (byte & 31) })
}

fn is_valid(name: &str) -> bool {
    let covers = |needed: &&str| name == *needed || name.ends_with('-') && needed.starts_with(name);
    LENGTHS.contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !hop_by_hop::PROTECTED.iter().any(covers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name in other cases, and with other punctuation in one place or in all.
    fn spellings(name: &str) -> [String; 6] {
        [
            name.to_owned(),
            name.to_lowercase(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replacen('-', "_", 1),
        ]
    }

    #[test]
    fn identity_headers_are_recognised_in_every_spelling() {
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
        let identity = IdentityHeaders::default();
        for spelling in names.iter().flat_map(|name| spellings(name)) {
            assert!(identity.contains(&spelling), "{spelling}");
        }
    }

    #[test]
    fn headers_declared_by_a_plugin_are_recognised_in_every_spelling() {
        const NAMES: [&str; 4] = ["x-subject", "jwt-claim-", "id-card", "a9b"];
        let identity = IdentityHeaders::with_plugins([("test", &NAMES[..])]).unwrap();
        for name in ["X-Subject", "JWT-Claim-Iss", "jwt-claim-", "Id-Card", "A9B", "X-Consumer-ID"] {
            for spelling in spellings(name) {
                assert!(identity.contains(&spelling), "{spelling}");
            }
        }
        for other in ["x-subjects", "jwt-claim", "jwt-claims-x", "idcard", "a9", "a9bc", "x-s"] {
            assert!(!identity.contains(other), "{other}");
        }
        assert!(!IdentityHeaders::default().contains("x-subject"));
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
        let identity = IdentityHeaders::default();
        for name in names {
            assert!(!identity.contains(name), "{name}");
        }
    }

    #[test]
    fn an_invalid_identity_header_is_refused() {
        const LONG: &str = "x-a123456789012345678901234567890123456789012345678901234567890123";
        for name in ["", "x-", "X-Subject", "x_subject", "x-sub ject", "-x-subject", "9-lives", LONG, "host", "proxy-"]
        {
            let names: &'static [&'static str] = Box::leak(Box::new([name]));
            let refused = IdentityHeaders::with_plugins([("test", names)]);
            assert_eq!(refused, Err(InvalidName { plugin: "test", name }));
        }
        assert!(COMPATIBLE.iter().all(|name| is_valid(name)));
    }

    #[test]
    fn the_plugins_of_this_gateway_declare_valid_identity_headers() {
        let plugins = crate::plugins::all();
        let identity = crate::plugins::identity_headers().unwrap();
        for name in plugins.iter().flat_map(|plugin| plugin.identity_headers()) {
            assert!(identity.contains(name), "{name}");
        }
    }
}
