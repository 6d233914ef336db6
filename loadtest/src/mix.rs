//! What a scenario sends: kinds of requests, their shares, and which tokens they use.

use serde::Deserialize;

/// One kind of request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name in results (default: its kind). Parts with the same name are reported together.
    pub name: Option<String>,
    /// The kind.
    pub send: Kind,
    /// Its share of all requests, relative to the others.
    #[serde(default = "share")]
    pub share: u32,
    /// Which token or credential each request uses.
    #[serde(default)]
    pub pick: Pick,
    /// The exponent of `pick: zipf`.
    #[serde(default = "exponent")]
    pub exponent: f64,
    /// How many of the provisioned tokens are used (default: all).
    pub tokens: Option<usize>,
    /// Expected statuses (default: 200; for `random_token` 401).
    pub expect: Option<Vec<u16>>,
}

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A request with a provisioned token.
    Token,
    /// A request with a random token.
    RandomToken,
    /// A token request with client credentials.
    Issue,
    /// A token request with a refresh token; the new one is used next.
    Refresh,
}

impl Kind {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::RandomToken => "random_token",
            Self::Issue => "issue",
            Self::Refresh => "refresh",
        }
    }

    fn expected(self) -> u16 {
        if self == Self::RandomToken { 401 } else { 200 }
    }
}

impl Part {
    /// Its name in results.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.send.name())
    }

    /// The expected statuses.
    pub fn expected(&self) -> Vec<u16> {
        self.expect.clone().unwrap_or_else(|| vec![self.send.expected()])
    }
}

/// Which of the provisioned tokens a request uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// Always the first.
    One,
    /// Any, with equal probability.
    #[default]
    Uniform,
    /// A few often and most rarely, by Zipf's law.
    Zipf,
    /// One after another.
    InTurn,
    /// Each at most once in a run, and never those of other parts: if the gateway's cache was cleared, none
    /// of them is in it.
    Once,
}

fn share() -> u32 {
    1
}

fn exponent() -> f64 {
    1.0
}
