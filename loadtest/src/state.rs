//! What `provision` created, as a file of JSON lines.
//!
//! The first line describes what to create; all ids, names and secrets derive from it. So an interrupted
//! `provision` resumes, and `cleanup` removes exactly what was created, even if a response was lost. Each
//! token is a line, appended when it is issued.
//!
//! The file contains tokens and the seed of client secrets: only its owner can read it, and `Debug` shows
//! none of them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::third_party::{Holders, Issuer};

/// What to create.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Random seed; all ids and secrets derive from it.
    pub seed: Uuid,
    /// Prefix of names and of the route's path.
    pub prefix: String,
    /// The service's upstream.
    pub upstream: String,
    /// Number of consumers.
    pub consumers: usize,
    /// Number of credentials, spread over the consumers. Those of a third party are its clients.
    pub credentials: usize,
    /// Who issues the tokens, if it is not the gateway.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub third_party: Option<Issuer>,
}

impl Order {
    /// The id of an entity, such as the third consumer.
    pub fn id(&self, kind: &str, number: usize) -> Uuid {
        Uuid::new_v5(&self.seed, format!("{kind} {number}").as_bytes())
    }

    /// The plugin's provision key.
    pub fn provision_key(&self) -> String {
        self.id("provision key", 0).simple().to_string()
    }

    /// The name of a consumer.
    pub fn username(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }

    /// A credential.
    pub fn credential(&self, number: usize) -> Credential {
        let consumer = number % self.consumers.max(1);
        let client_id = match self.third_party {
            Some(_) => Holders::client_id_of(consumer),
            None => self.id("client", number).simple().to_string(),
        };
        Credential {
            consumer_id: self.id("consumer", consumer).to_string(),
            client_id,
            client_secret: self.id("secret", number).simple().to_string(),
        }
    }

    /// Whose the tokens of a third party are: its clients are the consumers.
    pub fn holders(&self, issuer: &Issuer) -> Holders {
        Holders { prefix: self.prefix.clone(), consumers: self.consumers, issued_at: issuer.issued_at }
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The state that runs need.
#[derive(Clone, Default)]
pub struct State {
    /// What to create; `None` if nothing is recorded yet.
    pub order: Option<Order>,
    /// Whether everything except the tokens has been created.
    pub made: bool,
    /// The route's path, without a trailing slash.
    pub route_path: String,
    /// Credentials.
    pub credentials: Vec<Credential>,
    /// Tokens, including revoked ones: the file refers to a token by its index.
    pub tokens: Vec<Token>,
    /// Indices of tokens that were revoked, or about to be revoked when the program ended.
    pub revoked: BTreeSet<usize>,
}

/// A credential of a consumer.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its consumer's id.
    pub consumer_id: String,
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
}

/// A token.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// The bearer token.
    pub access_token: String,
    /// Its refresh token, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refresh_token: Option<String>,
    /// The index of its credential in [`State::credentials`].
    pub credential: usize,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.credentials.len(), self.live().count());
        f.debug_struct("State").field("route", &self.route_path).field("counts", &counts).finish_non_exhaustive()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// What to create.
    Order(Order),
    /// Everything has been created.
    Made,
    /// A token was issued.
    Token(Token),
    /// A token was refreshed.
    Refreshed {
        /// The index of the old token.
        place: usize,
        /// The new token.
        token: Token,
    },
    /// A token is being revoked. Recorded before the request is sent: a run killed in between leaves a valid
    /// token unused, never a revoked one in use.
    Revoked {
        /// Its index.
        place: usize,
    },
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It does not exist.
    #[error("{0} does not exist: run `tollgate-load provision` first, or name another file with --state")]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {source}; free some space or choose another file with --state, and run again")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is invalid.
    #[error("{path}:{line}: {source}; this is not a state file of `tollgate-load provision`, or it was modified")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl State {
    /// Reads a file. An incomplete last line is ignored: what it recorded is created again.
    ///
    /// # Errors
    /// If it does not exist or is not a state file.
    pub fn load(path: &Path) -> Result<Self, StateError> {
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StateError::Missing(path.to_owned()),
            _ => StateError::Read { path: path.to_owned(), source },
        })?;
        let mut state = Self::default();
        let mut torn = None;
        for (number, line) in BufReader::new(file).lines().enumerate() {
            if let Some(error) = torn.take() {
                return Err(error);
            }
            let line = line.map_err(|source| StateError::Read { path: path.to_owned(), source })?;
            match serde_json::from_str(&line) {
                Ok(entry) => state.add(entry),
                Err(source) => torn = Some(StateError::Line { path: path.to_owned(), line: number + 1, source }),
            }
        }
        Ok(state)
    }

    /// A single token at a path, with unknown owner.
    pub fn of_token(access_token: String, route_path: &str) -> Self {
        let token = Token { access_token, refresh_token: None, credential: 0 };
        Self { route_path: route_path.trim_end_matches('/').to_owned(), tokens: vec![token], ..Self::default() }
    }

    /// Who issued the tokens, if it was not the gateway.
    pub fn third_party(&self) -> Option<&Issuer> {
        self.order.as_ref()?.third_party.as_ref()
    }

    /// Tokens that were not revoked, with their indices.
    pub fn live(&self) -> impl Iterator<Item = (usize, &Token)> {
        self.tokens.iter().enumerate().filter(|(place, _)| !self.revoked.contains(place))
    }

    /// Tokens that no refresh invalidates, with their indices.
    pub fn lasting(&self) -> impl Iterator<Item = (usize, &Token)> {
        self.live().filter(|(_, token)| token.refresh_token.is_none())
    }

    /// Tokens that can be refreshed, with their indices.
    pub fn refreshable(&self) -> impl Iterator<Item = (usize, &Token)> {
        self.live().filter(|(_, token)| token.refresh_token.is_some())
    }

    /// Applies a line.
    pub fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Order(order) => {
                self.route_path = format!("/{}", order.prefix);
                self.credentials = (0..order.credentials).map(|number| order.credential(number)).collect();
                self.order = Some(order);
            }
            Entry::Made => self.made = true,
            Entry::Token(token) => self.tokens.push(token),
            Entry::Refreshed { place, token } => {
                if let Some(known) = self.tokens.get_mut(place) {
                    *known = token;
                }
            }
            Entry::Revoked { place } => {
                self.revoked.insert(place);
            }
        }
    }
}

/// The state file, opened for appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or creates a file that only its owner can read; removes an incomplete last line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let write = |source| StateError::Write { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(write)?;
        // It may have existed before with other permissions.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(write)?;
        let text = std::fs::read(path).map_err(write)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(u64::try_from(whole).unwrap_or(u64::MAX)).map_err(write)?;
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&mut self, entry: &Entry) -> Result<(), StateError> {
        let written = serde_json::to_vec(entry).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        written.map_err(|source| StateError::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        let upstream = "http://127.0.0.1:1".to_owned();
        let prefix = "load".to_owned();
        Order { seed: Uuid::from_u128(7), prefix, upstream, consumers: 2, credentials: 3, third_party: None }
    }

    #[test]
    fn an_incomplete_last_line_is_ignored_and_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::write(&path, "").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&Entry::Order(order())).unwrap();
        journal.file.write_all(br#"{"token":{"acc"#).unwrap();
        assert_eq!(State::load(&path).unwrap().order, Some(order()));
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&Entry::Made).unwrap();
        assert!(State::load(&path).unwrap().made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_revoked_token_keeps_its_index_and_is_not_used_again() {
        let token = |number: usize| Token { access_token: number.to_string(), refresh_token: None, credential: 0 };
        let mut state = State::default();
        (0..3).for_each(|number| state.add(Entry::Token(token(number))));
        state.add(Entry::Revoked { place: 1 });
        state.add(Entry::Token(token(3)));
        let places: Vec<_> = state.lasting().map(|(place, token)| (place, token.access_token.as_str())).collect();
        assert_eq!(places, [(0, "0"), (2, "2"), (3, "3")]);
    }

    #[test]
    fn everything_derives_from_the_first_line() {
        let mut state = State::default();
        state.add(Entry::Order(order()));
        assert_eq!(state.route_path, "/load");
        let owners: Vec<&str> = state.credentials.iter().map(|credential| credential.consumer_id.as_str()).collect();
        assert!(owners[0] == owners[2] && owners[0] != owners[1]);
        assert_ne!(state.credentials[0].client_secret, state.credentials[1].client_secret);
        assert!(!format!("{state:?}").contains(&state.credentials[0].client_secret));
    }

    #[test]
    fn an_invalid_line_is_reported_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::write(&path, "{}\n\"made\"\n").unwrap();
        assert!(State::load(&path).unwrap_err().to_string().contains("state:1: "));
        assert!(State::load(&folder.path().join("none")).unwrap_err().to_string().contains("provision"));
    }
}
