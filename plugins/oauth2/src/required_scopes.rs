//! The scopes that an instance requires of a token (RFC 6750 §3.1).

use crate::config::Config;
use crate::profile::Match;

/// What a token needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredScopes {
    scopes: Vec<Box<[u8]>>,
    needed: Match,
}

impl RequiredScopes {
    /// `None`: nothing.
    pub fn of(config: &Config) -> Option<Self> {
        let scopes: Vec<Box<[u8]>> = config.required_scopes.iter().map(|scope| scope.as_bytes().into()).collect();
        (!scopes.is_empty()).then_some(Self { scopes, needed: config.required_scopes_match })
    }

    /// Whether a token with this scope has them. Allocates nothing.
    pub fn are_in(&self, scope: Option<&[u8]>) -> bool {
        let has = |required: &[u8]| scope.unwrap_or_default().split(|byte| *byte == b' ').any(|word| word == required);
        match self.needed {
            Match::Any => self.scopes.iter().any(|required| has(required)),
            Match::All => self.scopes.iter().all(|required| has(required)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::tests::config;

    #[test]
    fn a_token_needs_one_or_all_of_them() {
        for (needed, scope, expected) in [
            ("all", "read write", true),
            ("all", "write read admin", true),
            ("all", "read", false),
            ("all", "readwrite", false),
            ("all", "", false),
            ("any", "admin write", true),
            ("any", "admin", false),
            ("any", "rea", false),
        ] {
            let config = config(&json!({"required_scopes": ["read", "write"], "required_scopes_match": needed}));
            let required = RequiredScopes::of(&config).unwrap();
            assert_eq!(required.are_in(Some(scope.as_bytes())), expected, "{needed} {scope}");
            assert!(!required.are_in(None));
        }
        for nothing in [json!({}), json!({"required_scopes": []})] {
            assert_eq!(RequiredScopes::of(&config(&nothing)), None);
        }
    }
}
