//! What a scenario sends: kinds of requests, their shares, and which tokens they take.

use serde::Deserialize;

/// One kind of request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is called in results; absent: as its kind. Parts of one name are told together.
    pub name: Option<String>,
    /// The kind.
    pub send: Kind,
    /// Its part of all requests, in relation to the others'.
    #[serde(default = "share")]
    pub share: u32,
    /// Which token or credential each request takes.
    #[serde(default)]
    pub pick: Pick,
    /// The exponent of `pick: zipf`.
    #[serde(default = "exponent")]
    pub exponent: f64,
    /// How many of the provisioned tokens are used; absent: all.
    pub tokens: Option<usize>,
    /// Statuses that are right; absent: 200, for `random_token` 401.
    pub expect: Option<Vec<u16>>,
}

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A request with a token that was provisioned.
    Token,
    /// A request with a token that was made up.
    RandomToken,
    /// A token by client credentials.
    Issue,
    /// A token by a refresh token, and so on with the one that comes.
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
    /// What it is called in results.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.send.name())
    }

    /// The statuses that are right.
    pub fn expected(&self) -> Vec<u16> {
        self.expect.clone().unwrap_or_else(|| vec![self.send.expected()])
    }
}

/// Which of the provisioned tokens a request takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// Always the first.
    One,
    /// Any, all as likely.
    #[default]
    Uniform,
    /// Few of them often and most of them rarely, by Zipf's law.
    Zipf,
    /// One after another, each as rarely as can be.
    InTurn,
    /// Each no more than once in a run, and never those of other parts: none of them has been seen
    /// by the gateway's cache, when it was told to forget what it knew.
    Once,
}

fn share() -> u32 {
    1
}

fn exponent() -> f64 {
    1.0
}
