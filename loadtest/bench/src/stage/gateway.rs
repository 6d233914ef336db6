//! Tollgate, configured for the rows.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use super::observation::misses;
use super::{Ready, Stage};
use crate::cpu;
use crate::database::{Database, Issued, userid};
use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::load::{CONCURRENCY, HOST, Identity, Requests, Step, Tokens, Wire};
use crate::program::{AccessLog, Tollgate, TollgateSettings};
use crate::progress::say;
use crate::prover::Prover;
use crate::row::Ask;
use crate::site::{Extent, Registered, SCOPE, Site};
use crate::token_list::{TokenList, write_zipf_order};

/// Room for all tokens of any run.
pub(super) const AMPLE: u64 = 16 << 30;
/// Room for about two thousand tokens: the others are looked up in the store.
pub(super) const SCANT: u64 = 1 << 20;

/// A gateway with its configuration.
pub(super) struct Configured {
    pub(super) tollgate: Tollgate,
    database: Database,
    pub(super) site: Site,
}

impl Stage<'_> {
    pub(super) async fn tollgate(&mut self, asks: &[Ask]) -> Result<Ready> {
        let needs_all = asks.contains(&Ask::Zipf);
        let database = Database::Sqlite(self.path().join("tollgate.db"));
        let extent = Extent { services: 1, consumers: if needs_all { self.amounts.consumers } else { 1 } };
        let configured = self.start(with_third_parties("tollgate", &database, AMPLE), database, extent).await?;
        let one = configured.site.token().await?;
        let mut requests = few_requests(&configured.site, &one);
        let forged = TokenList::forge(10_000).write(self.path(), "forged")?;
        requests
            .push((Ask::Forged, Requests::bearers(guarded(&configured.site), Tokens { list: forged, order: None })));
        if needs_all {
            let (tokens, every) = self.fill(&configured, "tollgate").await?;
            self.warm(&configured, &every, tokens.len()).await?;
            let popular = tokens.every(tokens.len() / self.amounts.popular.max(1));
            let list = Tokens {
                list: popular.write(self.path(), "tollgate-popular")?,
                order: Some(write_zipf_order(self.path(), "tollgate-order", popular.len())?),
            };
            let identity = identity(&configured.site, 0);
            requests.push((Ask::Zipf, Requests::bearers(guarded(&configured.site), list).known_as(identity)));
        }
        requests.extend(self.cached_third_party(&configured, asks).await?);
        if asks.contains(&Ask::RateLimited) {
            requests.push((Ask::RateLimited, self.rate_limited(&configured.site).await?));
        }
        Ok(ready(configured, requests))
    }

    /// A route whose limits no load reaches.
    async fn rate_limited(&self, site: &Site) -> Result<Requests> {
        const SUFFIX: &str = "limited";
        let config = json!({"second": 1_000_000_000, "minute": 1_000_000_000, "limit_by": "ip", "policy": "local"});
        site.protect(SUFFIX, self.upstream.address, ("rate-limiting", config)).await?;
        Ok(Requests::get(format!("/{}/", Site::named(SUFFIX))))
    }

    pub(super) async fn logged(&mut self) -> Result<Ready> {
        let database = Database::Sqlite(self.path().join("logged.db"));
        let settings = TollgateSettings { access_log: AccessLog::File, ..settings("logged", &database, AMPLE) };
        let configured = self.start(settings, database, Extent { services: 1, consumers: 1 }).await?;
        let one = configured.site.token().await?;
        let requests = few_requests(&configured.site, &one);
        Ok(ready(configured, requests))
    }

    pub(super) async fn issuing(&mut self, asks: &[Ask]) -> Result<Ready> {
        let database = self.postgres("issuing").await?;
        let settings = TollgateSettings { trusted_ips: "127.0.0.0/8", ..settings("issuing", &database, AMPLE) };
        let configured = self.start(settings, database, Extent { services: 1, consumers: 1 }).await?;
        let one = configured.site.token().await?;
        configured.site.permit_introspection().await?;
        let mut requests = few_requests(&configured.site, &one);
        let client = configured.site.registered.first();
        requests.extend(client.map(|client| (Ask::Introspect, introspect(&configured.site, client, &one))));
        if asks.contains(&Ask::Proven) {
            requests.push((Ask::Proven, self.proven(&configured).await?));
        }
        Ok(ready(configured, requests))
    }

    /// A token that is bound to a key (RFC 9449), on a route that accepts no other.
    async fn proven(&self, configured: &Configured) -> Result<Requests> {
        // As short as the path of the other service.
        const SUFFIX: &str = "p";
        let (site, tollgate) = (&configured.site, &configured.tollgate);
        let scopes: Vec<_> = SCOPE.split(' ').collect();
        let config = json!({
            "scopes": scopes, "enable_client_credentials": true, "accept_http_if_already_terminated": true,
            "dpop": "required",
        });
        site.protect(SUFFIX, self.upstream.address, ("oauth2", config)).await?;
        let path = format!("/{}/", Site::named(SUFFIX));
        let (Some(client), Some(address)) = (site.registered.first(), tollgate.proxy.http) else {
            return Err(Error::Usage("a site without clients has no tokens".to_owned()));
        };
        let prover = Prover::new(format!("{path}oauth2/token"))?;
        let mut request = token_request(&path, client);
        request.headers.push(("DPoP", prover.prove("POST")?));
        let token = token_of(address, &request).await?;
        Ok(over_https(Requests::proven(prover.with(&token, path), &token, self.path().join("proofs"))))
    }

    pub(super) async fn missing_postgres(&mut self) -> Result<Ready> {
        let database = self.postgres("missing").await?;
        self.missing("missing-postgres", database).await
    }

    pub(super) async fn missing_sqlite(&mut self) -> Result<Ready> {
        let database = Database::Sqlite(self.path().join("missing.db"));
        self.missing("missing-sqlite", database).await
    }

    async fn missing(&mut self, name: &'static str, database: Database) -> Result<Ready> {
        let extent = Extent { services: 1, consumers: self.amounts.consumers };
        let configured = self.start(settings(name, &database, SCANT), database, extent).await?;
        let (_, every) = self.fill(&configured, name).await?;
        // More than are remembered as unknown until they are presented again.
        let unknown = TokenList::mint(configured.database.checksum_key().await?, self.amounts.tokens);
        let list = unknown.write(self.path(), &format!("{name}-unknown"))?;
        let unknown = Requests::bearers(guarded(&configured.site), Tokens { list, order: None });
        Ok(ready(configured, vec![(Ask::EveryToken, every), (Ask::Unknown, unknown)]))
    }

    pub(super) async fn start(
        &mut self,
        settings: TollgateSettings,
        database: Database,
        extent: Extent,
    ) -> Result<Configured> {
        let tollgate = Tollgate::start(self.path(), &self.options.tollgate, &settings, &self.certificate).await?;
        let site = Site::make(&format!("http://{}", tollgate.admin), self.upstream.address, extent).await?;
        Ok(Configured { tollgate, database, site })
    }

    /// Adds the tokens of this run to its store, all for its first service.
    async fn fill(&self, configured: &Configured, name: &str) -> Result<(TokenList, Requests)> {
        say(&format!("  adding {} tokens to the store", self.amounts.tokens));
        let tokens = TokenList::mint(configured.database.checksum_key().await?, self.amounts.tokens);
        let site = &configured.site;
        let service = site.guarded.first().map(|guarded| guarded.service).unwrap_or_default();
        let credentials: Vec<_> = site.registered.iter().map(|registered| registered.credential).collect();
        let issued = |place: usize| {
            let credential = credentials.get(place % credentials.len().max(1)).copied().unwrap_or_default();
            Issued { credential, service }
        };
        configured.database.add_tokens(&tokens, self.path(), issued).await?;
        let list = tokens.write(self.path(), &format!("{name}-tokens"))?;
        let every = Requests::bearers(guarded(site), Tokens { list, order: None }).known_as(identity(site, 0));
        Ok((tokens, every))
    }

    /// Presents every token once, and measures the memory that this takes.
    async fn warm(&mut self, configured: &Configured, every: &Requests, count: usize) -> Result<()> {
        let tollgate = &configured.tollgate;
        let resident = || cpu::resident_bytes(tollgate.proxy.process).map_err(Error::system("the gateway has ended"));
        let asked = || misses(tollgate.status);
        // Allocates what any load needs, before memory is measured.
        self.present_all(tollgate, every, 1).await?;
        let (bytes, cached) = (resident()?, asked().await?);
        self.present_all(tollgate, every, count).await?;
        let added = asked().await? - cached;
        let bytes = resident()?.saturating_sub(bytes) as f64 / added.max(1.0);
        self.figures.push(Figure::new("tokens-cached", "tokens cached", added + cached, "tokens"));
        // The target is for a million: with few tokens, the cache's fixed memory dominates.
        let name = if added + cached < 1e6 { "bytes-per-token-of-few" } else { "bytes-per-token" };
        self.figures.push(Figure::new(name, "resident bytes per cached token", bytes, "bytes"));
        Ok(())
    }

    /// Presents every request of a list.
    pub(super) async fn present_all(&self, tollgate: &Tollgate, every: &Requests, count: usize) -> Result<()> {
        let Some(address) = tollgate.proxy.http else { return Ok(()) };
        let (mut sent, count) = (0, count as u64);
        while sent < count {
            let seconds = if count - sent > 50_000 { 5 } else { 1 };
            // Requests in progress at the end of a step are sent again.
            sent = sent.saturating_sub(2 * CONCURRENCY as u64);
            sent += self.step(address, every, seconds, sent).await?;
            say(&format!("  {} of {count} tokens presented", sent.min(count)));
        }
        Ok(())
    }

    async fn step(&self, address: SocketAddr, requests: &Requests, seconds: u64, start: u64) -> Result<u64> {
        let duration = Duration::from_secs(seconds);
        let step = Step { address, wire: Wire::Plain, requests, duration, start, folder: self.folder() };
        let outcome = step.run(&[]).await?;
        if outcome.refused + outcome.broken > 0 {
            let what = format!("{} of {} tokens were refused", outcome.refused, outcome.requests);
            return Err(Error::WrongResponse { row: "warming".to_owned(), what });
        }
        Ok(outcome.requests)
    }

    async fn postgres(&mut self, name: &str) -> Result<Database> {
        Ok(Database::Postgres(self.postgres_url(name).await?))
    }
}

pub(super) fn settings(name: &'static str, database: &Database, cache_bytes: u64) -> TollgateSettings {
    let (database_url, access_log) = (database.url(), AccessLog::Off);
    TollgateSettings { name, database_url, cache_bytes, third_party_percent: 0, access_log, trusted_ips: "" }
}

/// The same, with half of the cache for tokens of third parties.
pub(super) fn with_third_parties(name: &'static str, database: &Database, cache_bytes: u64) -> TollgateSettings {
    TollgateSettings { third_party_percent: 50, ..settings(name, database, cache_bytes) }
}

pub(super) fn ready(configured: Configured, requests: Vec<(Ask, Requests)>) -> Ready {
    let Configured { tollgate: Tollgate { proxy, status, .. }, .. } = configured;
    Ready { proxy, status: Some(status), requests }
}

/// The path of the first protected service.
fn guarded(site: &Site) -> String {
    site.guarded.first().map(|guarded| format!("{}/", guarded.path)).unwrap_or_default()
}

/// The identity of the token at an index of the list.
fn identity(site: &Site, place: usize) -> Identity {
    let registered = site.registered.get(place % site.registered.len().max(1));
    let (username, client_id) =
        registered.map(|known| (known.username.clone(), known.client_id.clone())).unwrap_or_default();
    Identity::of_own(username, client_id, userid(place))
}

/// The requests for a site with one service and one token.
pub(super) fn few_requests(site: &Site, token: &str) -> Vec<(Ask, Requests)> {
    let mut requests = vec![
        (Ask::Plain, Requests::get(format!("{}/", site.plain))),
        (Ask::OneToken, Requests::bearer(guarded(site), token).known_as(identity(site, 0))),
    ];
    requests.extend(site.registered.first().map(|client| (Ask::IssuePlain, issue(site, client))));
    requests.extend(site.hashed.as_ref().map(|client| (Ask::IssueHashed, issue(site, client))));
    requests
}

/// An introspection (RFC 7662 §2.1) from a trusted proxy that declares HTTPS.
fn introspect(site: &Site, client: &Registered, token: &str) -> Requests {
    let Registered { client_id, client_secret, .. } = client;
    let body = format!("client_id={client_id}&client_secret={client_secret}&token={token}");
    over_https(Requests::form(format!("{}oauth2/introspect", guarded(site)), body))
}

fn issue(site: &Site, client: &Registered) -> Requests {
    token_request(&guarded(site), client)
}

/// A token request (RFC 6749 §4.4.2) from a trusted proxy that declares HTTPS.
fn token_request(path: &str, client: &Registered) -> Requests {
    let Registered { client_id, client_secret, .. } = client;
    let body = format!(
        "grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}&scope=email%20profile"
    );
    over_https(Requests::form(format!("{path}oauth2/token"), body))
}

/// The same, as a proxy sends what reached it over HTTPS.
fn over_https(mut requests: Requests) -> Requests {
    requests.headers.push(("X-Forwarded-Proto", "https".to_owned()));
    requests
}

/// The token that a token request gets.
async fn token_of(address: SocketAddr, request: &Requests) -> Result<String> {
    let url = format!("http://{address}{}", request.path);
    let unreachable = |source| Error::Unreachable { url: url.clone(), source };
    let sent = Client::new().post(&url).header("Host", HOST).body(request.body.clone());
    let sent = request.headers.iter().fold(sent, |sent, (name, value)| sent.header(*name, value));
    let said = sent.send().await.map_err(unreachable)?.text().await.map_err(unreachable)?;
    let response: Value = serde_json::from_str(&said).unwrap_or_default();
    let token = response.get("access_token").and_then(Value::as_str).map(str::to_owned);
    token.ok_or_else(|| Error::WrongResponse { row: "dpop".to_owned(), what: format!("no token was issued: {said}") })
}
