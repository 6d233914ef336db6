//! Scope: what a client requests and what it is granted (RFC 6749 §3.3, oauth2.md §3.8).

use tollgate_core::header_text;

use crate::config::Config;
use crate::error::Refusal;
use crate::parameters::Parameter;

/// The granted scope, its words joined by single spaces; `None` is no scope. A blank scope is granted
/// as none, even if `mandatory_scope` is set.
pub fn granted(config: &Config, asked: Option<&Parameter>) -> Result<Option<String>, Refusal> {
    let (Some(scopes), Some(asked)) = (&config.scopes, asked) else {
        let missing = config.mandatory_scope && asked.is_none();
        return if missing { Err(Refusal::MissingScope) } else { Ok(None) };
    };
    let asked = asked.text().ok_or(Refusal::ScopeNotText)?;
    if header_text::is_too_long(asked) {
        return Err(Refusal::TooLong("scope"));
    }
    if let Some(unknown) = words(asked).find(|word| !has(scopes, word)) {
        return Err(Refusal::UnknownScope(unknown.to_owned()));
    }
    let words: Vec<&str> = words(asked).collect();
    Ok((!words.is_empty()).then(|| words.join(" ")))
}

/// Whether every word of a scope granted earlier is still configured.
pub fn still_granted(config: &Config, stored: Option<&str>) -> Result<(), Refusal> {
    let scopes = config.scopes.as_deref().unwrap_or_default();
    let kept = words(stored.unwrap_or_default()).all(|word| has(scopes, word));
    if kept { Ok(()) } else { Err(Refusal::ScopeMismatch) }
}

fn words(scope: &str) -> impl Iterator<Item = &str> {
    let is_space = |character: char| character.is_ascii_whitespace() || character == '\x0b';
    scope.split(is_space).filter(|word| !word.is_empty())
}

fn has(scopes: &[String], word: &str) -> bool {
    scopes.iter().any(|scope| scope == word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::tests::config;

    fn text(scope: &str) -> Parameter {
        Parameter::Text(scope.to_owned())
    }

    #[test]
    fn a_scope_is_granted_as_the_table_says() {
        let unset = json!({});
        let set = json!({"scopes": ["email", "profile"]});
        let mandatory = json!({"scopes": ["email", "profile"], "mandatory_scope": true});
        let unknown = |word: &str| Err(Refusal::UnknownScope(word.to_owned()));
        for (patch, asked, expected) in [
            (&set, Some(Parameter::Other(json!(["email"]))), Err(Refusal::ScopeNotText)),
            (&set, Some(Parameter::Other(json!(1))), Err(Refusal::ScopeNotText)),
            (&set, Some(Parameter::Other(json!(false))), Err(Refusal::ScopeNotText)),
            (&set, Some(Parameter::Other(json!(null))), Err(Refusal::ScopeNotText)),
            (&set, Some(Parameter::Unreadable), Err(Refusal::ScopeNotText)),
            (&set, Some(text("email  \tprofile ")), Ok(Some("email profile".to_owned()))),
            (&set, Some(text("email wot what")), unknown("wot")),
            (&set, Some(text("Email")), unknown("Email")),
            (&set, Some(text("email,profile")), unknown("email,profile")),
            (&set, Some(text(&"email ".repeat(700))), Err(Refusal::TooLong("scope"))),
            (&set, Some(text(&"x".repeat(4097))), Err(Refusal::TooLong("scope"))),
            (&unset, Some(text(&"x".repeat(4097))), Ok(None)),
            (&set, None, Ok(None)),
            (&mandatory, Some(text("")), Ok(None)),
            (&mandatory, Some(text("  ")), Ok(None)),
            (&mandatory, None, Err(Refusal::MissingScope)),
            (&unset, Some(text("anything")), Ok(None)),
            (&unset, Some(Parameter::Other(json!(1))), Ok(None)),
            (&unset, None, Ok(None)),
        ] {
            assert_eq!(granted(&config(patch), asked.as_ref()), expected, "{patch} {asked:?}");
        }
    }

    #[test]
    fn a_refreshed_scope_must_still_be_configured() {
        let set = config(&json!({"scopes": ["email", "profile"]}));
        assert_eq!(still_granted(&set, Some("profile email")), Ok(()));
        assert_eq!(still_granted(&set, None), Ok(()));
        assert_eq!(still_granted(&set, Some("email wot")), Err(Refusal::ScopeMismatch));
        let unset = config(&json!({}));
        assert_eq!(still_granted(&unset, None), Ok(()));
        assert_eq!(still_granted(&unset, Some("email")), Err(Refusal::ScopeMismatch));
    }

    proptest! {
        #[test]
        fn what_is_granted_was_configured_and_is_granted_again(asked in "[a-c \\t]{0,12}") {
            let config = config(&json!({"scopes": ["a", "b", "ab"]}));
            if let Ok(Some(scope)) = granted(&config, Some(&text(&asked))) {
                prop_assert!(scope.split(' ').all(|word| ["a", "b", "ab"].contains(&word)));
                prop_assert_eq!(still_granted(&config, Some(&scope)), Ok(()));
                prop_assert_eq!(granted(&config, Some(&text(&scope))), Ok(Some(scope)));
            }
        }
    }
}
