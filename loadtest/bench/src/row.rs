//! The rows of a run.

use tollgate_load::third_party::Kind;

use crate::load::Wire;
use crate::options::Options;

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
    /// A protected path, with one token.
    OneToken,
    /// A protected path, with some of the cached tokens by Zipf's law.
    Zipf,
    /// A protected path, with every token in turn.
    EveryToken,
    /// A protected path, with forged tokens.
    Forged,
    /// A token request, with a secret stored in clear text.
    IssuePlain,
    /// A token request, with a hashed secret.
    IssueHashed,
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
        self.ask != Ask::Forged
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

/// All rows, in the order in which a round runs them.
pub const ROWS: &[Row] = &[
    row(FLOOR, Subject::Nginx, Ask::Plain, Wire::Plain, "nginx, proxy_pass with keep-alive"),
    row("haproxy", Subject::Haproxy, Ask::Plain, Wire::Plain, "HAProxy"),
    row("smallest", Subject::Smallest, Ask::Plain, Wire::Plain, "the smallest pingora-proxy"),
    row(
        "smallest-changed",
        Subject::SmallestChanged,
        Ask::Plain,
        Wire::Plain,
        "the smallest pingora-proxy, with Tollgate's patches to Pingora",
    )
    .compared_with("smallest")
    .not_quick(),
    row("plain", Subject::Tollgate, Ask::Plain, Wire::Plain, "Tollgate, no plugin").compared_with("smallest"),
    row("oauth2", Subject::Tollgate, Ask::OneToken, Wire::Plain, "Tollgate, oauth2, one warm token")
        .compared_with("plain"),
    row("oauth2-zipf", Subject::Tollgate, Ask::Zipf, Wire::Plain, "Tollgate, oauth2, cached tokens by Zipf's law")
        .compared_with("oauth2"),
    row(
        "oauth2-logged",
        Subject::Logged,
        Ask::OneToken,
        Wire::Plain,
        "Tollgate, oauth2, one warm token, access log on",
    )
    .compared_with("oauth2"),
    row(
        "nginx-token-cache",
        Subject::NginxTokenCache,
        Ask::OneToken,
        Wire::Plain,
        "nginx, auth_request with proxy_cache, one token",
    )
    .compared_with(FLOOR),
    row(
        "nginx-token-cache-zipf",
        Subject::NginxTokenCache,
        Ask::Zipf,
        Wire::Plain,
        "nginx, auth_request with proxy_cache, tokens by Zipf's law",
    )
    .compared_with("nginx-token-cache")
    .not_quick(),
    row(
        "nginx-introspection",
        Subject::NginxIntrospection,
        Ask::OneToken,
        Wire::Plain,
        "nginx, auth_request with proxy_cache, one token, and the headers that introspected has",
    )
    .compared_with(FLOOR),
    row(
        "haproxy-jwt",
        Subject::HaproxyJwt,
        Ask::ThirdParty(Kind::Rs256),
        Wire::Plain,
        "HAProxy, jwt_verify (RS256), issuer and expiry; no claims forwarded",
    )
    .compared_with("haproxy"),
    row(
        "introspected",
        Subject::Tollgate,
        Ask::ThirdParty(Kind::Introspection),
        Wire::Plain,
        "Tollgate, oauth2-introspection, one cached token",
    )
    .compared_with("oauth2"),
    row(
        "introspected-zipf",
        Subject::Tollgate,
        Ask::ThirdPartyZipf,
        Wire::Plain,
        "Tollgate, oauth2-introspection, cached tokens by Zipf's law",
    )
    .compared_with("oauth2-zipf")
    .not_quick(),
    row(
        "introspection",
        Subject::MissingThirdParty,
        Ask::EveryThirdParty(Kind::Introspection),
        Wire::Plain,
        "Tollgate, oauth2-introspection, tokens not in the cache: each is introspected",
    )
    .compared_with("plain"),
    row(
        "jwt-rs256",
        Subject::Tollgate,
        Ask::ThirdParty(Kind::Rs256),
        Wire::Plain,
        "Tollgate, jwt-access-token, one cached token, RS256",
    )
    .compared_with("oauth2"),
    row("jwt-es256", Subject::Tollgate, Ask::ThirdParty(Kind::Es256), Wire::Plain, "the same, ES256")
        .compared_with("oauth2"),
    row("jwt-eddsa", Subject::Tollgate, Ask::ThirdParty(Kind::Eddsa), Wire::Plain, "the same, EdDSA")
        .compared_with("oauth2"),
    row(
        "check-rs256",
        Subject::Openssl,
        Ask::SignatureCheck(Kind::Rs256),
        Wire::Plain,
        "OpenSSL: the signature check alone, RS256 (RSA of 2048 bits)",
    ),
    row("check-es256", Subject::Openssl, Ask::SignatureCheck(Kind::Es256), Wire::Plain, "the same, ES256 (P-256)"),
    row("check-eddsa", Subject::Openssl, Ask::SignatureCheck(Kind::Eddsa), Wire::Plain, "the same, EdDSA (Ed25519)"),
    row(
        "jwt-rs256-new",
        Subject::MissingThirdParty,
        Ask::EveryThirdParty(Kind::Rs256),
        Wire::Plain,
        "Tollgate, jwt-access-token, tokens not in the cache, RS256",
    )
    .compared_with("jwt-rs256"),
    row("jwt-es256-new", Subject::MissingThirdParty, Ask::EveryThirdParty(Kind::Es256), Wire::Plain, "the same, ES256")
        .compared_with("jwt-es256"),
    row("jwt-eddsa-new", Subject::MissingThirdParty, Ask::EveryThirdParty(Kind::Eddsa), Wire::Plain, "the same, EdDSA")
        .compared_with("jwt-eddsa"),
    row("forged", Subject::Tollgate, Ask::Forged, Wire::Plain, "Tollgate, oauth2, forged tokens refused")
        .compared_with("oauth2"),
    row(
        "miss-postgres",
        Subject::MissingPostgres,
        Ask::EveryToken,
        Wire::Plain,
        "Tollgate, oauth2, tokens not in the cache, PostgreSQL",
    )
    .compared_with("oauth2"),
    row(
        "miss-sqlite",
        Subject::MissingSqlite,
        Ask::EveryToken,
        Wire::Plain,
        "Tollgate, oauth2, tokens not in the cache, SQLite",
    )
    .compared_with("oauth2"),
    row(
        "issue",
        Subject::Issuing,
        Ask::IssuePlain,
        Wire::Plain,
        "Tollgate issues a token (client_credentials), PostgreSQL, secret in clear text",
    )
    .compared_with("oauth2"),
    row("issue-hashed", Subject::Issuing, Ask::IssueHashed, Wire::Plain, "the same, hashed secret")
        .compared_with("oauth2"),
    row("few", Subject::Few, Ask::EveryRoute, Wire::Plain, "Tollgate, oauth2: 10 routes, services and consumers")
        .compared_with("oauth2")
        .not_quick(),
    row(
        "many",
        Subject::Many,
        Ask::EveryRoute,
        Wire::Plain,
        "Tollgate, oauth2: 10,000 routes, 1,000 services, 10,000 consumers, all requested, by Zipf's law",
    )
    .compared_with("few")
    .not_quick(),
    row("nginx-tls", Subject::Nginx, Ask::Plain, Wire::Tls, "nginx, TLS").compared_with(FLOOR).not_quick(),
    row("plain-tls", Subject::Tollgate, Ask::Plain, Wire::Tls, "Tollgate, no plugin, TLS")
        .compared_with("nginx-tls")
        .not_quick(),
    row("oauth2-tls", Subject::Tollgate, Ask::OneToken, Wire::Tls, "Tollgate, oauth2, one warm token, TLS")
        .compared_with("plain-tls")
        .not_quick(),
    row("nginx-h2", Subject::Nginx, Ask::Plain, Wire::H2, "nginx, HTTP/2").compared_with(FLOOR).not_quick(),
    row("plain-h2", Subject::Tollgate, Ask::Plain, Wire::H2, "Tollgate, no plugin, HTTP/2")
        .compared_with("nginx-h2")
        .not_quick(),
    row("oauth2-h2", Subject::Tollgate, Ask::OneToken, Wire::H2, "Tollgate, oauth2, one warm token, HTTP/2")
        .compared_with("plain-h2")
        .not_quick(),
    row("other", Subject::Other, Ask::Plain, Wire::Plain, "the other gateway, no plugin").compared_with(FLOOR),
    row("other-oauth2", Subject::Other, Ask::OneToken, Wire::Plain, "the other gateway, oauth2, one warm token")
        .compared_with("other"),
    row("other-issue", Subject::Other, Ask::IssuePlain, Wire::Plain, "the other gateway issues a token")
        .compared_with("other-oauth2"),
];

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
