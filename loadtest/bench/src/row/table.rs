//! All rows.

use tollgate_load::third_party::Kind;

use super::{Ask, FLOOR, Row, Subject, row};
use crate::load::Wire;

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
    row("rate-limited", Subject::Tollgate, Ask::RateLimited, Wire::Plain, "Tollgate, rate-limiting, local, by address")
        .compared_with("plain"),
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
        .compared_with("oauth2")
        .not_quick(),
    row("jwt-eddsa", Subject::Tollgate, Ask::ThirdParty(Kind::Eddsa), Wire::Plain, "the same, EdDSA")
        .compared_with("oauth2")
        .not_quick(),
    row(
        "check-rs256",
        Subject::Openssl,
        Ask::SignatureCheck(Kind::Rs256),
        Wire::Plain,
        "OpenSSL: the signature check alone, RS256 (RSA of 2048 bits)",
    ),
    row("check-es256", Subject::Openssl, Ask::SignatureCheck(Kind::Es256), Wire::Plain, "the same, ES256 (P-256)")
        .not_quick(),
    row("check-eddsa", Subject::Openssl, Ask::SignatureCheck(Kind::Eddsa), Wire::Plain, "the same, EdDSA (Ed25519)")
        .not_quick(),
    row(
        "jwt-rs256-new",
        Subject::MissingThirdParty,
        Ask::EveryThirdParty(Kind::Rs256),
        Wire::Plain,
        "Tollgate, jwt-access-token, tokens not in the cache, RS256",
    )
    .compared_with("jwt-rs256"),
    row("jwt-es256-new", Subject::MissingThirdParty, Ask::EveryThirdParty(Kind::Es256), Wire::Plain, "the same, ES256")
        .compared_with("jwt-es256")
        .not_quick(),
    row("jwt-eddsa-new", Subject::MissingThirdParty, Ask::EveryThirdParty(Kind::Eddsa), Wire::Plain, "the same, EdDSA")
        .compared_with("jwt-eddsa")
        .not_quick(),
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
        "unknown-postgres",
        Subject::MissingPostgres,
        Ask::Unknown,
        Wire::Plain,
        "Tollgate, oauth2, well-formed tokens that do not exist, PostgreSQL",
    )
    .compared_with("miss-postgres"),
    row(
        "miss-sqlite",
        Subject::MissingSqlite,
        Ask::EveryToken,
        Wire::Plain,
        "Tollgate, oauth2, tokens not in the cache, SQLite",
    )
    .compared_with("oauth2"),
    row(
        "introspect",
        Subject::Issuing,
        Ask::Introspect,
        Wire::Plain,
        "Tollgate introspects one of its own warm tokens for a resource server",
    )
    .compared_with("oauth2"),
    row(
        "dpop",
        Subject::Issuing,
        Ask::Proven,
        Wire::Plain,
        "Tollgate, oauth2, one warm token, with a DPoP proof for each request (ES256)",
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
