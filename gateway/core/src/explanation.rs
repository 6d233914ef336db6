//! The explanation of a token: what each check found, for an operator who asks what becomes of it.
//!
//! The checks themselves tell it, as they are made for a request ([`Request::explain`]): nothing is decided here, and
//! nothing is told of requests that nobody asks about. Without secrets.
//!
//! [`Request::explain`]: crate::request::Request::explain

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The request goes on.
    Passed,
    /// It is refused.
    Refused,
    /// It cannot be told, and is refused for now.
    CannotTell,
}

impl Finding {
    /// Its name in explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::CannotTell => "cannot_tell",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What came of it.
    pub finding: Finding,
    /// Why, for people.
    pub detail: String,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Explanation {
    checks: Mutex<Vec<Check>>,
    facts: Mutex<Map<String, Value>>,
}

impl Explanation {
    /// Adds a check.
    pub fn tell(&self, name: &'static str, finding: Finding, detail: impl Into<String>) {
        lock(&self.checks).push(Check { name, finding, detail: detail.into() });
    }

    /// Adds what is known about the token, or where it was found.
    pub fn fact(&self, name: &str, value: impl Into<Value>) {
        lock(&self.facts).insert(name.to_owned(), value.into());
    }

    /// The checks since the last call, in order.
    pub fn take_checks(&self) -> Vec<Check> {
        std::mem::take(&mut *lock(&self.checks))
    }

    /// What is known about the token.
    pub fn facts(&self) -> Map<String, Value> {
        lock(&self.facts).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
