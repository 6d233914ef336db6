//! Scope: what a client requests and what it is granted (RFC 6749 §3.3, oauth2.md §3.8).

use std::collections::HashSet;

use tollgate_core::header_text;

use crate::config::Config;
use crate::entity::credential::Credential;
use crate::error::Refusal;
use crate::parameters::Parameter;
use crate::profile::ScopeSyntax;

/// The granted scope, its words joined by single spaces; `None` is no scope. A blank scope is granted
/// as none, even if `mandatory_scope` is set.
pub fn granted(config: &Config, asked: Option<&Parameter>) -> Result<Option<String>, Refusal> {
    let is_strict = config.profile.scope_syntax == ScopeSyntax::Strict;
    if is_strict && let Some(asked) = asked {
        check_syntax(asked)?;
    }
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
    let mut words: Vec<&str> = words(asked).collect();
    if is_strict {
        words = distinct(words);
    }
    Ok((!words.is_empty()).then(|| words.join(" ")))
}

/// The same for a client whose credential names the scopes that it may have.
pub fn granted_to(client: &Credential, config: &Config, asked: Option<&Parameter>) -> Result<Option<String>, Refusal> {
    let scope = granted(config, asked)?;
    let Some(allowed) = &client.allowed_scopes else { return Ok(scope) };
    if let Some(other) = words(scope.as_deref().unwrap_or_default()).find(|word| !has(allowed, word)) {
        return Err(Refusal::ScopeNotAllowed(other.to_owned()));
    }
    Ok(scope)
}

/// The scope of a refreshed access token: the requested part of what was granted, or all of it if nothing is requested
/// (RFC 6749 §6).
pub fn narrowed(granted: Option<&str>, asked: Option<&Parameter>) -> Result<Option<String>, Refusal> {
    let Some(asked) = asked else { return Ok(granted.map(str::to_owned)) };
    check_syntax(asked)?;
    let asked = asked.text().ok_or(Refusal::ScopeNotText)?;
    let known: Vec<&str> = words(granted.unwrap_or_default()).collect();
    if let Some(other) = words(asked).find(|word| !known.contains(word)) {
        return Err(Refusal::ScopeNotGranted(other.to_owned()));
    }
    let words = distinct(words(asked).collect());
    Ok(if words.is_empty() { granted.map(str::to_owned) } else { Some(words.join(" ")) })
}

/// The grammar of RFC 6749 §3.3. A blank scope is none.
fn check_syntax(asked: &Parameter) -> Result<(), Refusal> {
    let asked = asked.text().ok_or(Refusal::ScopeNotText)?;
    if header_text::is_too_long(asked) {
        return Err(Refusal::TooLong("scope"));
    }
    let is_token = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    if asked.is_empty() || asked.split(' ').all(is_token) { Ok(()) } else { Err(Refusal::ScopeSyntax) }
}

/// Each word once, in the order in which it is first requested.
fn distinct(words: Vec<&str>) -> Vec<&str> {
    let mut seen = HashSet::new();
    words.into_iter().filter(|word| seen.insert(*word)).collect()
}

/// Whether every word of a scope granted earlier is still configured, and allowed for the client.
pub fn still_granted(client: &Credential, config: &Config, stored: Option<&str>) -> Result<(), Refusal> {
    let allowed = client.allowed_scopes.as_ref();
    if let Some(allowed) = allowed
        && !words(stored.unwrap_or_default()).all(|word| has(allowed, word))
    {
        return Err(Refusal::ScopeMismatch);
    }
    is_configured(config, stored)
}

fn is_configured(config: &Config, stored: Option<&str>) -> Result<(), Refusal> {
    let scopes = config.scopes.as_deref().unwrap_or_default();
    let kept = words(stored.unwrap_or_default()).all(|word| has(scopes, word));
    if kept { Ok(()) } else { Err(Refusal::ScopeMismatch) }
}

/// What a user grants of the requested scope: some of its words, or none.
pub fn within(requested: Option<&str>, narrower: &Parameter) -> Result<Option<String>, Refusal> {
    let narrower = narrower.text().ok_or(Refusal::ScopeNotText)?;
    if header_text::is_too_long(narrower) {
        return Err(Refusal::TooLong("scope"));
    }
    let requested: Vec<&str> = words(requested.unwrap_or_default()).collect();
    if let Some(unknown) = words(narrower).find(|word| !requested.contains(word)) {
        return Err(Refusal::UnknownScope(unknown.to_owned()));
    }
    let granted: Vec<&str> = words(narrower).collect();
    Ok((!granted.is_empty()).then(|| granted.join(" ")))
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
        assert_eq!(is_configured(&set, Some("profile email")), Ok(()));
        assert_eq!(is_configured(&set, None), Ok(()));
        assert_eq!(is_configured(&set, Some("email wot")), Err(Refusal::ScopeMismatch));
        let unset = config(&json!({}));
        assert_eq!(is_configured(&unset, None), Ok(()));
        assert_eq!(is_configured(&unset, Some("email")), Err(Refusal::ScopeMismatch));
    }

    #[test]
    fn a_strict_scope_is_words_between_single_spaces_rfc6749_3_3() {
        let config = config(&json!({"scopes": ["email", "profile"], "scope_syntax": "strict"}));
        let unset = crate::config::tests::config(&json!({"scope_syntax": "strict"}));
        for (asked, expected) in [
            (text("email profile"), Ok(Some("email profile".to_owned()))),
            (text("email profile email"), Ok(Some("email profile".to_owned()))),
            (text(""), Ok(None)),
            (text(" "), Err(Refusal::ScopeSyntax)),
            (text("email  profile"), Err(Refusal::ScopeSyntax)),
            (text("email\tprofile"), Err(Refusal::ScopeSyntax)),
            (text("email "), Err(Refusal::ScopeSyntax)),
            (text("e\"mail"), Err(Refusal::ScopeSyntax)),
            (text("\u{e9}"), Err(Refusal::ScopeSyntax)),
            (text("wot"), Err(Refusal::UnknownScope("wot".to_owned()))),
            (Parameter::Other(json!(["email"])), Err(Refusal::ScopeNotText)),
        ] {
            assert_eq!(granted(&config, Some(&asked)), expected, "{asked:?}");
        }
        assert_eq!(granted(&unset, Some(&Parameter::Other(json!(["a"])))), Err(Refusal::ScopeNotText));
        assert_eq!(granted(&unset, Some(&text("a"))), Ok(None));
    }

    #[test]
    fn a_refreshed_scope_is_a_part_of_the_granted_one_rfc6749_6() {
        for (granted, asked, expected) in [
            (Some("a b"), None, Ok(Some("a b"))),
            (Some("a b"), Some("b"), Ok(Some("b"))),
            (Some("a b"), Some("b a b"), Ok(Some("b a"))),
            (Some("a b"), Some(""), Ok(Some("a b"))),
            (Some("a b"), Some("c"), Err(Refusal::ScopeNotGranted("c".to_owned()))),
            (Some("a b"), Some("a  b"), Err(Refusal::ScopeSyntax)),
            (None, Some("a"), Err(Refusal::ScopeNotGranted("a".to_owned()))),
            (None, None, Ok(None)),
        ] {
            let expected = expected.map(|scope: Option<&str>| scope.map(str::to_owned));
            assert_eq!(narrowed(granted, asked.map(text).as_ref()), expected, "{granted:?} {asked:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_granted_was_configured_and_is_granted_again(asked in "[a-c \\t]{0,12}") {
            let config = config(&json!({"scopes": ["a", "b", "ab"]}));
            if let Ok(Some(scope)) = granted(&config, Some(&text(&asked))) {
                prop_assert!(scope.split(' ').all(|word| ["a", "b", "ab"].contains(&word)));
                prop_assert_eq!(is_configured(&config, Some(&scope)), Ok(()));
                prop_assert_eq!(granted(&config, Some(&text(&scope))), Ok(Some(scope)));
            }
        }
    }
}
