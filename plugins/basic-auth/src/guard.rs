//! The guard: lets requests with a consumer's username and password pass, with the consumer in headers.
//!
//! 1. Read the headers, and remove them from what goes upstream.
//! 2. Look the usernames up; the first that is known decides.
//! 3. Compare the password with the one that was right before, or else with the stored hash, outside the I/O threads.
//!
//! The kit decides what follows when several plugins authenticate
//! ([`AuthenticationHandler`](tollgate_plugin::authentication::AuthenticationHandler)).

use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use tokio::runtime::Handle;
use tollgate_plugin::authentication::{Authentication, Authenticator, Found, Look, unauthenticated};
use tollgate_plugin::cache::{self, ServeCached};
use tollgate_plugin::{Digest, Reply, Request, Verdict};

use crate::account::{Account, Accounts, Fingerprint, Known};
use crate::config::Passwords;
use crate::presented::{self, Presented};

/// Why a request is refused; clients hear the same of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Missing,
    Unreadable,
    Unknown,
    WrongPassword,
}

impl Refusal {
    /// The reason code in the access log.
    fn reason(self) -> &'static str {
        match self {
            Self::Missing => "basic_credentials_missing",
            Self::Unreadable => "basic_credentials_unreadable",
            Self::Unknown => "basic_username_unknown",
            Self::WrongPassword => "basic_password_wrong",
        }
    }
}

/// State shared by the guards of a node.
pub(crate) struct Shared {
    pub(crate) accounts: Accounts,
    /// The key of fingerprints.
    pub(crate) key: [u8; 32],
    /// Where passwords are hashed.
    pub(crate) runtime: Handle,
}

/// The guard of one plugin instance.
pub(crate) struct Guard {
    pub(crate) passwords: Passwords,
    pub(crate) challenge: HeaderValue,
    pub(crate) serve_cached: ServeCached,
    pub(crate) shared: Arc<Shared>,
}

/// The credentials that are left to be looked up, the first of them first.
pub(crate) struct Question(Vec<Presented>);

fn found(account: &Account) -> Found<Refusal> {
    Ok(Authentication::Valid(account.credential().into()))
}

fn invalid(refusal: Refusal) -> Found<Refusal> {
    Ok(Authentication::Invalid(refusal))
}

impl Guard {
    /// What an account says of a password; `None`: it has to be hashed.
    fn judge(&self, account: &Account, presented: &Presented) -> Option<Found<Refusal>> {
        match account.knows(self.fingerprint(presented)) {
            Known::Right => Some(found(account)),
            Known::Wrong => Some(invalid(Refusal::WrongPassword)),
            Known::Not => None,
        }
    }

    /// The same for a request, whose sender is noted.
    fn judge_noted(&self, account: &Account, presented: &Presented, request: &Request<'_>) -> Option<Found<Refusal>> {
        request.note(|caller| account.credential().note(caller));
        self.judge(account, presented)
    }

    fn fingerprint(&self, presented: &Presented) -> Fingerprint {
        Fingerprint::of(&self.shared.key, &presented.password)
    }

    async fn verify(&self, account: Account, presented: Presented) -> Found<Refusal> {
        if let Some(known) = self.judge(&account, &presented) {
            return known;
        }
        let fingerprint = self.fingerprint(&presented);
        let hashing = self.shared.runtime.spawn(async move {
            let right = account.verify(&presented.password, fingerprint);
            (account, right)
        });
        match hashing.await {
            Ok((account, true)) => found(&account),
            Ok((_, false)) => invalid(Refusal::WrongPassword),
            Err(_) => Err(Verdict::Reply(Reply::unavailable("basic_hashing_ended"))),
        }
    }
}

impl Authenticator for Guard {
    type Refusal = Refusal;
    type Question = Question;

    fn look(&self, request: &mut Request<'_>) -> Look<Refusal, Question> {
        let presented = presented::find(request);
        if self.passwords == Passwords::Hide {
            presented::hide(request);
        }
        let mut refusal = if presented.any { Refusal::Unreadable } else { Refusal::Missing };
        let mut left = presented.credentials.into_iter();
        while let Some(next) = left.next() {
            let digest = Digest::of(&next.username);
            let accounts = &self.shared.accounts;
            let known = match accounts.of_this_thread(&digest, |account| self.judge_noted(account, &next, request)) {
                Some(known) => known,
                None => match accounts.get_for(&digest, self.serve_cached, request) {
                    Some(cache::Known::Fact(account)) => self.judge_noted(&account, &next, request),
                    Some(cache::Known::Unknown) => {
                        refusal = Refusal::Unknown;
                        continue;
                    }
                    None => None,
                },
            };
            return match known {
                Some(known) => Look::Found(known),
                None => Look::Ask(Question(std::iter::once(next).chain(left).collect())),
            };
        }
        Look::Found(match refusal {
            Refusal::Missing => Ok(Authentication::Absent(refusal)),
            _ => invalid(refusal),
        })
    }

    async fn ask(&self, Question(presented): Question, request: &mut Request<'_>) -> Found<Refusal> {
        for next in presented {
            let (digest, username) = (Digest::of(&next.username), next.username.clone());
            let known = match self.shared.accounts.get_for(&digest, self.serve_cached, request) {
                Some(cache::Known::Fact(account)) => Ok(Some(account)),
                Some(cache::Known::Unknown) => Ok(None),
                None => self.shared.accounts.load_for(digest, username, self.serve_cached, request).await,
            };
            match known {
                Ok(Some(account)) => {
                    request.note(|caller| account.credential().note(caller));
                    return self.verify(account, next).await;
                }
                Ok(None) => {}
                Err(_) => return Err(Verdict::Reply(Reply::unavailable("basic_store_unavailable"))),
            }
        }
        invalid(Refusal::Unknown)
    }

    fn serve_cached(&self) -> ServeCached {
        self.serve_cached
    }

    fn refuse(&self, refusal: Refusal, request: &Request<'_>) -> Reply {
        let reply = Reply::message(StatusCode::UNAUTHORIZED, refusal.reason(), "Unauthorized");
        unauthenticated(reply.with_header(WWW_AUTHENTICATE, self.challenge.clone()), request)
    }
}

#[cfg(test)]
mod tests;
