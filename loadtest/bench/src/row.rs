//! The rows of a run.

mod table;

use tollgate_load::third_party::Kind;

use crate::load::Wire;
use crate::options::Options;

pub use table::ROWS;

/// The program that a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// nginx, `proxy_pass`.
    Nginx,
    /// nginx, `auth_request` with a cache.
    NginxTokenCache,
    /// nginx, `auth_request` with a cache, and the headers of an introspected token.
    NginxIntrospection,
    /// HAProxy.
    Haproxy,
    /// HAProxy, which checks the signatures of JWTs.
    HaproxyJwt,
    /// OpenSSL in this process: the signature check alone.
    Openssl,
    /// The smallest possible Pingora proxy, with published Pingora.
    Smallest,
    /// The same with our changes to Pingora.
    SmallestChanged,
    /// Tollgate on SQLite: routes with and without the plugin, all tokens cached.
    Tollgate,
    /// The same settings with the access log.
    Logged,
    /// On PostgreSQL, behind a trusted proxy that declares HTTPS: for issuing.
    Issuing,
    /// With a cache that is too small, on PostgreSQL.
    MissingPostgres,
    /// With a cache that is too small, on SQLite.
    MissingSqlite,
    /// With a cache that is too small, for tokens of a third party.
    MissingThirdParty,
    /// With tokens of a third party alone, to see what memory they take; in no row.
    ThirdPartyMemory,
    /// 10 routes, services and consumers.
    Few,
    /// 10,000 routes and consumers, 1,000 services.
    Many,
    /// A gateway that was already running.
    Other,
}

/// The kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// An unprotected path.
    Plain,
    /// An unprotected path whose requests are counted.
    RateLimited,
    /// A protected path, with one token.
    OneToken,
    /// A protected path, with some of the cached tokens by Zipf's law.
    Zipf,
    /// A protected path, with every token in turn.
    EveryToken,
    /// A protected path, with forged tokens.
    Forged,
    /// A protected path, with tokens whose checksum is right and that the store does not have.
    Unknown,
    /// A token request, with a secret stored in clear text.
    IssuePlain,
    /// A token request, with a hashed secret.
    IssueHashed,
    /// An introspection of one cached token.
    Introspect,
    /// A protected path, with one token and a new proof of its key for each request.
    Proven,
    /// Protected paths across the table, each with its own token, by Zipf's law.
    EveryRoute,
    /// A path that accepts tokens of a third party, with one token.
    ThirdParty(Kind),
    /// The same, with cached opaque tokens by Zipf's law.
    ThirdPartyZipf,
    /// The same, with many tokens in turn.
    EveryThirdParty(Kind),
    /// No request: a check of the signature of a third party's token.
    SignatureCheck(Kind),
}

/// Which runs include a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// All, including `--quick`.
    Quick,
    /// All but `--quick`.
    Normal,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name, for `--only` and results.
    pub name: &'static str,
    /// Its description in the results.
    pub about: &'static str,
    /// The program.
    pub subject: Subject,
    /// The request.
    pub ask: Ask,
    /// The protocol.
    pub wire: Wire,
    /// The row that it is compared with.
    pub peer: Option<&'static str>,
    /// The runs that include it.
    pub depth: Depth,
}

impl Row {
    /// Whether a correct response has a status below 400.
    pub fn expects_success(&self) -> bool {
        !matches!(self.ask, Ask::Forged | Ask::Unknown)
    }
}

const fn row(name: &'static str, subject: Subject, ask: Ask, wire: Wire, about: &'static str) -> Row {
    Row { name, about, subject, ask, wire, peer: None, depth: Depth::Quick }
}

impl Row {
    const fn compared_with(mut self, peer: &'static str) -> Self {
        self.peer = Some(peer);
        self
    }

    const fn not_quick(mut self) -> Self {
        self.depth = Depth::Normal;
        self
    }
}

/// The baseline in C, with which every row is compared.
pub const FLOOR: &str = "nginx";

/// The rows of a run: the named ones and their peers, otherwise those of its mode. Those of the other gateway are
/// included only if there is one.
pub fn selected(options: &Options) -> Vec<&'static Row> {
    let mut names = Vec::new();
    for name in &options.only {
        let mut next = find(name);
        while let Some(row) = next {
            names.extend([FLOOR, row.name]);
            next = row.peer.and_then(find);
        }
    }
    let depth = if options.quick { Depth::Quick } else { Depth::Normal };
    let wanted = |row: &&Row| match options.only.as_slice() {
        [] => row.depth <= depth && (row.subject != Subject::Other || options.admin.is_some()),
        _ => names.contains(&row.name),
    };
    ROWS.iter().filter(wanted).collect()
}

/// The row with this name.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_an_earlier_row_that_runs_whenever_its_row_does() {
        for (index, row) in ROWS.iter().enumerate() {
            let Some(peer) = row.peer else { continue };
            let before = ROWS.iter().take(index).find(|other| other.name == peer);
            assert!(before.is_some_and(|peer| peer.depth <= row.depth), "{}", row.name);
        }
    }
}
