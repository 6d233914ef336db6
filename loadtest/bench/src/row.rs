//! What is measured: every row of a run.

use crate::load::Wire;
use crate::options::Options;

/// Which program a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// nginx, `proxy_pass`.
    Nginx,
    /// nginx, `auth_request` with a cache.
    NginxTokenCache,
    /// HAProxy.
    Haproxy,
    /// The smallest proxy that Pingora makes, as released.
    Smallest,
    /// The same with our changes to Pingora.
    SmallestChanged,
    /// Tollgate on SQLite: routes with and without the plugin, all tokens cached.
    Tollgate,
    /// The same settings with the access log.
    Logged,
    /// On PostgreSQL, behind a proxy whose word for HTTPS is taken: for issuing.
    Issuing,
    /// With a cache that is too small, on PostgreSQL.
    MissingPostgres,
    /// With a cache that is too small, on SQLite.
    MissingSqlite,
    /// 10 routes, services and consumers.
    Few,
    /// 10,000 routes and consumers, 1,000 services.
    Many,
    /// A gateway that was there before.
    Other,
}

/// What is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A path that nothing guards.
    Plain,
    /// A guarded path, with one token.
    OneToken,
    /// A guarded path, with a part of the cached tokens by Zipf's law.
    Zipf,
    /// A guarded path, with every token in turn.
    EveryToken,
    /// A guarded path, with made-up tokens.
    Forged,
    /// A token, with a secret that is kept in clear.
    IssuePlain,
    /// A token, with a secret that is kept as a hash.
    IssueHashed,
    /// Guarded paths all over the table, each with a token of its own, by Zipf's law.
    EveryRoute,
}

/// Which runs a row is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// All, also `--quick`.
    Quick,
    /// All but `--quick`.
    Normal,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name, for `--only` and in results.
    pub name: &'static str,
    /// What it is, for readers of the results.
    pub about: &'static str,
    /// Which program.
    pub subject: Subject,
    /// What is asked.
    pub ask: Ask,
    /// Over what.
    pub wire: Wire,
    /// The row it is compared with.
    pub peer: Option<&'static str>,
    /// When it runs.
    pub depth: Depth,
}

impl Row {
    /// The status of a right answer is below 400.
    pub fn expects_success(&self) -> bool {
        self.ask != Ask::Forged
    }
}

const fn row(name: &'static str, subject: Subject, ask: Ask, wire: Wire, about: &'static str) -> Row {
    Row { name, about, subject, ask, wire, peer: None, depth: Depth::Quick }
}

impl Row {
    const fn beside(mut self, peer: &'static str) -> Self {
        self.peer = Some(peer);
        self
    }

    const fn not_quick(mut self) -> Self {
        self.depth = Depth::Normal;
        self
    }
}

/// The C floor, to which every row is compared.
pub const FLOOR: &str = "nginx";

/// All rows, in the order in which a round goes through them.
pub const ROWS: &[Row] = &[
    row(FLOOR, Subject::Nginx, Ask::Plain, Wire::Plain, "nginx, proxy_pass with keep-alive"),
    row("haproxy", Subject::Haproxy, Ask::Plain, Wire::Plain, "HAProxy"),
    row("smallest", Subject::Smallest, Ask::Plain, Wire::Plain, "the smallest pingora-proxy"),
    row(
        "smallest-changed",
        Subject::SmallestChanged,
        Ask::Plain,
        Wire::Plain,
        "the smallest pingora-proxy, with Pingora as Tollgate has it",
    )
    .beside("smallest")
    .not_quick(),
    row("plain", Subject::Tollgate, Ask::Plain, Wire::Plain, "Tollgate, no plugin").beside("smallest"),
    row("oauth2", Subject::Tollgate, Ask::OneToken, Wire::Plain, "Tollgate, oauth2, one warm token").beside("plain"),
    row("oauth2-zipf", Subject::Tollgate, Ask::Zipf, Wire::Plain, "Tollgate, oauth2, cached tokens by Zipf's law")
        .beside("oauth2"),
    row(
        "oauth2-logged",
        Subject::Logged,
        Ask::OneToken,
        Wire::Plain,
        "Tollgate, oauth2, one warm token, access log on",
    )
    .beside("oauth2"),
    row(
        "nginx-token-cache",
        Subject::NginxTokenCache,
        Ask::OneToken,
        Wire::Plain,
        "nginx, auth_request with proxy_cache, one token",
    )
    .beside(FLOOR),
    row(
        "nginx-token-cache-zipf",
        Subject::NginxTokenCache,
        Ask::Zipf,
        Wire::Plain,
        "nginx, auth_request with proxy_cache, tokens by Zipf's law",
    )
    .beside("nginx-token-cache")
    .not_quick(),
    row("forged", Subject::Tollgate, Ask::Forged, Wire::Plain, "Tollgate, oauth2, forged tokens refused")
        .beside("oauth2"),
    row(
        "miss-postgres",
        Subject::MissingPostgres,
        Ask::EveryToken,
        Wire::Plain,
        "Tollgate, oauth2, tokens not in the cache, PostgreSQL",
    )
    .beside("oauth2"),
    row(
        "miss-sqlite",
        Subject::MissingSqlite,
        Ask::EveryToken,
        Wire::Plain,
        "Tollgate, oauth2, tokens not in the cache, SQLite",
    )
    .beside("oauth2"),
    row(
        "issue",
        Subject::Issuing,
        Ask::IssuePlain,
        Wire::Plain,
        "Tollgate issues a token (client_credentials), PostgreSQL, secret in clear",
    )
    .beside("oauth2"),
    row("issue-hashed", Subject::Issuing, Ask::IssueHashed, Wire::Plain, "the same, secret kept as a hash")
        .beside("oauth2"),
    row("few", Subject::Few, Ask::EveryRoute, Wire::Plain, "Tollgate, oauth2: 10 routes, services and consumers")
        .beside("oauth2")
        .not_quick(),
    row(
        "many",
        Subject::Many,
        Ask::EveryRoute,
        Wire::Plain,
        "Tollgate, oauth2: 10,000 routes, 1,000 services, 10,000 consumers, all of them used, by Zipf's law",
    )
    .beside("few")
    .not_quick(),
    row("nginx-tls", Subject::Nginx, Ask::Plain, Wire::Tls, "nginx, TLS").beside(FLOOR).not_quick(),
    row("plain-tls", Subject::Tollgate, Ask::Plain, Wire::Tls, "Tollgate, no plugin, TLS")
        .beside("nginx-tls")
        .not_quick(),
    row("oauth2-tls", Subject::Tollgate, Ask::OneToken, Wire::Tls, "Tollgate, oauth2, one warm token, TLS")
        .beside("plain-tls")
        .not_quick(),
    row("nginx-h2", Subject::Nginx, Ask::Plain, Wire::H2, "nginx, HTTP/2").beside(FLOOR).not_quick(),
    row("plain-h2", Subject::Tollgate, Ask::Plain, Wire::H2, "Tollgate, no plugin, HTTP/2")
        .beside("nginx-h2")
        .not_quick(),
    row("oauth2-h2", Subject::Tollgate, Ask::OneToken, Wire::H2, "Tollgate, oauth2, one warm token, HTTP/2")
        .beside("plain-h2")
        .not_quick(),
    row("other", Subject::Other, Ask::Plain, Wire::Plain, "the other gateway, no plugin").beside(FLOOR),
    row("other-oauth2", Subject::Other, Ask::OneToken, Wire::Plain, "the other gateway, oauth2, one warm token")
        .beside("other"),
    row("other-issue", Subject::Other, Ask::IssuePlain, Wire::Plain, "the other gateway issues a token")
        .beside("other-oauth2"),
];

/// The rows of a run: those that are named, with all that they are compared with; else those of its
/// depth. The other gateway's only when there is one.
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

/// The row of that name.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_a_row_that_comes_before_and_runs_whenever_its_row_does() {
        for (index, row) in ROWS.iter().enumerate() {
            let Some(peer) = row.peer else { continue };
            let before = ROWS.iter().take(index).find(|other| other.name == peer);
            assert!(before.is_some_and(|peer| peer.depth <= row.depth), "{}", row.name);
        }
    }
}
