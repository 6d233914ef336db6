//! Tokens of a third party: a stub authority for each gateway, and routes that accept its tokens.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tollgate_load::third_party::{Authority, FORWARDED, Holders, Kind, Minter, Signer, opaque, plugin};

use super::gateway::{AMPLE, Configured, SCANT, with_third_parties};
use super::{Ready, Stage};
use crate::command;
use crate::cpu;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::load::{Identity, Requests, Tokens};
use crate::program::{haproxy_jwt, nginx_introspected};
use crate::progress::say;
use crate::row::{Ask, Subject};
use crate::signature_check::SignatureCheck;
use crate::site::{Extent, Site};
use crate::token_list::write_zipf_order;

/// Tokens that are presented in turn and are in no cache: more than a thread-local cache holds.
const MISSED: u32 = 50_000;
/// Tokens whose signature is checked alone.
const CHECKED: u32 = 100;
/// The number of a token that no other request presents.
const UNKNOWN: u32 = 900_000_000;
/// Requests for it at the same time: streams of a connection, and connections.
const STREAMS: usize = 100;
const CONNECTIONS: usize = 100;
/// How long the authority takes for it: longer than it takes to send all of them.
const HOLD: Duration = Duration::from_secs(5);
/// The issuer of tokens for a peer that reads its key at its start.
const ISSUER: &str = "https://authority.test";

/// The authority of a gateway.
pub(super) struct ThirdParty {
    authority: Authority,
    holders: Holders,
}

/// The holders of all tokens: the consumers of a site.
pub fn holders(consumers: usize) -> Holders {
    let issued_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Holders { prefix: Site::CONSUMERS.to_owned(), consumers, issued_at }
}

fn path(kind: Kind) -> String {
    format!("/{}/", Site::named(suffix(kind)))
}

/// As short as that of the service for own tokens, since a longer path costs more.
fn suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Introspection => "i",
        Kind::Rs256 => "r",
        Kind::Es256 => "e",
        Kind::Eddsa => "d",
    }
}

/// The kinds of tokens in requests.
fn kinds(asks: &[Ask]) -> Vec<Kind> {
    let kind = |ask: &Ask| match ask {
        Ask::ThirdParty(kind) | Ask::EveryThirdParty(kind) | Ask::SignatureCheck(kind) => Some(*kind),
        Ask::ThirdPartyZipf => Some(Kind::Introspection),
        _ => None,
    };
    let mut kinds: Vec<Kind> = asks.iter().filter_map(kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

impl Stage<'_> {
    pub(super) async fn nginx_introspection(&self) -> Result<Ready> {
        let proxy = nginx_introspected(self.path(), self.upstream.address, &self.certificate).await?;
        let mut holders = holders(1);
        holders.prefix = "person".to_owned();
        let one = Requests::bearer("/", &opaque::token(0)).known_as(Identity::of_third_party(&holders, 0));
        Ok(Ready { proxy, status: None, requests: vec![(Ask::OneToken, one)] })
    }

    pub(super) async fn haproxy_jwt(&mut self) -> Result<Ready> {
        let minter = self.minter(Kind::Rs256, ISSUER.to_owned(), holders(1))?;
        let key = minter.signer.as_ref().map(Signer::public_pem).transpose().map_err(Error::store)?;
        let proxy = haproxy_jwt(self.path(), self.upstream.address, &key.unwrap_or_default(), ISSUER).await?;
        let token = minter.mint(0).map_err(Error::store)?;
        Ok(Ready { proxy, status: None, requests: vec![(Ask::ThirdParty(Kind::Rs256), Requests::bearer("/", &token))] })
    }

    /// Prepares the checks that run in this process.
    pub(super) fn openssl(&mut self, asks: &[Ask]) -> Result<()> {
        for kind in kinds(asks) {
            let minter = self.minter(kind, ISSUER.to_owned(), holders(1))?;
            let tokens: std::result::Result<Vec<_>, _> = (0..CHECKED).map(|number| minter.mint(number)).collect();
            if let Some(signer) = &minter.signer {
                self.checks.push((kind, SignatureCheck::new(signer, &tokens.map_err(Error::store)?)?));
            }
        }
        Ok(())
    }

    pub(super) async fn missing_third_party(&mut self, asks: &[Ask]) -> Result<Ready> {
        let database = Database::Sqlite(self.path().join("missing-third-party.db"));
        let settings = with_third_parties("missing-third-party", &database, SCANT);
        let configured = self.start(settings, database, Extent { services: 1, consumers: 1 }).await?;
        self.accept_third_party(Subject::MissingThirdParty, &configured.site, &kinds(asks), &FORWARDED).await?;
        let mut requests = Vec::new();
        for ask in asks {
            if let Ask::EveryThirdParty(kind) = ask {
                requests.push((*ask, self.every_third_party(Subject::MissingThirdParty, *kind, MISSED)?));
            }
        }
        Ok(super::gateway::ready(configured, requests))
    }

    /// The requests with third-party tokens of [`Subject::Tollgate`], all of them cached.
    pub(super) async fn cached_third_party(
        &mut self,
        configured: &Configured,
        asks: &[Ask],
    ) -> Result<Vec<(Ask, Requests)>> {
        let kinds = kinds(asks);
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        self.accept_third_party(Subject::Tollgate, &configured.site, &kinds, &FORWARDED).await?;
        let mut requests = Vec::new();
        for ask in asks {
            match ask {
                Ask::ThirdParty(kind) => requests.push((*ask, self.one_third_party(*kind)?)),
                Ask::ThirdPartyZipf => {
                    let count = u32::try_from(self.amounts.popular).unwrap_or(u32::MAX);
                    let mut every = self.every_third_party(Subject::Tollgate, Kind::Introspection, count)?;
                    self.present_all(&configured.tollgate, &every, self.amounts.popular).await?;
                    let order = write_zipf_order(self.path(), "third-party-order", self.amounts.popular)?;
                    every.tokens.iter_mut().for_each(|tokens| tokens.order = Some(order.clone()));
                    requests.push((*ask, every));
                }
                _ => {}
            }
        }
        Ok(requests)
    }

    /// Starts an authority for a gateway, and adds a route for each kind of its tokens.
    async fn accept_third_party(
        &mut self,
        subject: Subject,
        site: &Site,
        kinds: &[Kind],
        forwarded: &[&str],
    ) -> Result<()> {
        let holders = holders(site.registered.len());
        let signers = kinds.iter().map(|kind| self.signer(*kind)).collect::<Result<Vec<_>>>()?;
        let signers: Vec<Signer> = signers.into_iter().flatten().collect();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let authority = Authority::start(any, holders.clone(), &signers);
        let authority = authority.map_err(Error::system("cannot serve a stub authority"))?;
        for kind in kinds {
            site.protect(suffix(*kind), self.upstream.address, plugin(*kind, authority.listening, forwarded)).await?;
        }
        self.third_parties.insert(subject, ThirdParty { authority, holders });
        Ok(())
    }

    fn one_third_party(&mut self, kind: Kind) -> Result<Requests> {
        let minter = self.minter_of(Subject::Tollgate, kind)?;
        let token = minter.mint(0).map_err(Error::store)?;
        Ok(Requests::bearer(path(kind), &token).known_as(Identity::of_third_party(&minter.holders, 0)))
    }

    /// The first `count` tokens, in turn.
    fn every_third_party(&mut self, subject: Subject, kind: Kind, count: u32) -> Result<Requests> {
        let minter = self.minter_of(subject, kind)?;
        let list = self.path().join(format!("{subject:?}-{kind:?}"));
        let identity = Identity::of_third_party(&minter.holders, 0);
        if minter.signer.is_none() {
            write(&list, &(0..count).map(opaque::token).collect::<String>())?;
            return Ok(Requests::bearers(path(kind), Tokens { list, order: None }).known_as(identity));
        }
        say(&format!("  signing {count} tokens, {kind:?}"));
        // Tokens of a signature algorithm differ in length.
        let mut lines = String::new();
        for number in 0..count {
            let token = minter.mint(number).map_err(Error::store)?;
            let _ = writeln!(lines, "{} {token}", path(kind));
        }
        write(&list, &lines)?;
        Ok(Requests::bearers("{path}", Tokens { list, order: None }).known_as(identity))
    }

    fn minter_of(&mut self, subject: Subject, kind: Kind) -> Result<Minter> {
        let known = self.third_parties.get(&subject);
        let known = known.map(|third| (third.authority.listening.issuer(), third.holders.clone()));
        let (issuer, holders) = known.ok_or_else(|| Error::Usage("there is no authority".to_owned()))?;
        self.minter(kind, issuer, holders)
    }

    fn minter(&mut self, kind: Kind, issuer: String, holders: Holders) -> Result<Minter> {
        Ok(Minter { issuer, holders, signer: self.signer(kind)? })
    }

    /// The signing key of a kind, the same in the whole run.
    fn signer(&mut self, kind: Kind) -> Result<Option<Signer>> {
        let Some(algorithm) = kind.algorithm() else { return Ok(None) };
        if let Some(signer) = self.signers.iter().find(|signer| signer.algorithm() == algorithm) {
            return Ok(Some(signer.clone()));
        }
        let signer = Signer::generate(algorithm).map_err(Error::store)?;
        self.signers.push(signer.clone());
        Ok(Some(signer))
    }

    /// Calls of the authority for one unknown token that ten thousand requests present at once.
    pub async fn calls_for_one_unknown_token(&self) -> Result<Option<Figure>> {
        let ready = self.ready(Subject::Tollgate);
        let (Some(ready), Some(third)) = (ready, self.third_parties.get(&Subject::Tollgate)) else { return Ok(None) };
        let known = ready.requests(Ask::ThirdParty(Kind::Introspection));
        let (Some(address), Some(_)) = (ready.proxy.https, known) else { return Ok(None) };
        let before = third.authority.introspections();
        third.authority.delay(HOLD);
        let said = ask_at_once(address).await;
        third.authority.delay(Duration::ZERO);
        let calls = (third.authority.introspections() - before) as f64;
        if let Err(said) = said? {
            return Err(Error::Failed { program: "h2load".to_owned(), said });
        }
        let about = "calls of the authority for one unknown token in 10,000 requests at once";
        Ok(Some(Figure::new("calls-for-unknown", about, calls, "")))
    }

    /// Resident bytes for each of `count` cached opaque tokens, if these claims are forwarded.
    pub async fn memory_of_third_party(&mut self, count: usize, forwarded: &[&str]) -> Result<f64> {
        let database = Database::Sqlite(self.path().join(format!("memory-{}-{count}.db", forwarded.len())));
        let extent = Extent { services: 1, consumers: self.amounts.consumers };
        let configured = self.start(with_third_parties("memory", &database, AMPLE), database, extent).await?;
        let kinds = [Kind::Introspection];
        self.accept_third_party(Subject::ThirdPartyMemory, &configured.site, &kinds, forwarded).await?;
        let tokens = u32::try_from(count).unwrap_or(u32::MAX);
        let every = self.every_third_party(Subject::ThirdPartyMemory, Kind::Introspection, tokens)?;
        let process = configured.tollgate.proxy.process;
        let resident = || cpu::resident_bytes(process).map_err(Error::system("the gateway has ended"));
        let asked = |stage: &Self| {
            stage.third_parties.get(&Subject::ThirdPartyMemory).map_or(0, |third| third.authority.introspections())
        };
        // Allocates what any load needs, before memory is measured.
        self.present_all(&configured.tollgate, &every, 1).await?;
        let (bytes, cached) = (resident()?, asked(self));
        self.present_all(&configured.tollgate, &every, count).await?;
        let added = (asked(self) - cached).max(1);
        let missing = (count as u64).saturating_sub(added + cached);
        if missing > 0 {
            return Err(Error::Usage(format!("{missing} of {count} tokens were not introspected")));
        }
        Ok(resident()?.saturating_sub(bytes) as f64 / added as f64)
    }
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::system("cannot write a list of tokens"))
}

/// Ten thousand requests with one token at the same time; the error is what the generator said.
async fn ask_at_once(address: SocketAddr) -> Result<std::result::Result<(), String>> {
    let count = STREAMS * CONNECTIONS;
    let words = [
        "h2load".to_owned(),
        "-t1".to_owned(),
        format!("-n{count}"),
        format!("-c{CONNECTIONS}"),
        format!("-m{STREAMS}"),
        "-H".to_owned(),
        format!("authorization: Bearer {}", opaque::token(UNKNOWN)),
        format!("https://{address}{}", path(Kind::Introspection)),
    ];
    let said = command::run(&words, HOLD + Duration::from_secs(60)).await?;
    let all = said.contains(&format!("status codes: {count} 2xx"));
    Ok(if all { Ok(()) } else { Err(said) })
}
