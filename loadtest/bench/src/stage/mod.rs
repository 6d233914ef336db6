//! The programs of a run, each prepared for its rows: configured, filled with tokens, warmed up.

mod certificates;
mod gateway;
mod observation;
mod peer;
mod table;
mod third_party;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tollgate_load::third_party::{Kind, Signer};
use tollgate_quickstart::certificate::{self, KeptCertificate};

pub use third_party::holders;

use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::load::Requests;
use crate::options::{Amounts, Options};
use crate::postgres::Cluster;
use crate::program::{Proxy, Tollgate, Upstream};
use crate::progress::say;
use crate::row::{Ask, Row, Subject};
use crate::signature_check::SignatureCheck;

/// A program that is ready.
pub struct Ready {
    /// Its proxy.
    pub proxy: Proxy,
    /// A Tollgate's metrics.
    pub status: Option<SocketAddr>,
    requests: Vec<(Ask, Requests)>,
}

impl Ready {
    /// The requests of a kind.
    pub fn requests(&self, ask: Ask) -> Option<&Requests> {
        self.requests.iter().find_map(|(known, requests)| (*known == ask).then_some(requests))
    }
}

/// All programs. Dropping it stops them, then removes the folder with their files.
pub struct Stage<'a> {
    ready: BTreeMap<Subject, Ready>,
    /// Figures measured during preparation.
    pub figures: Vec<Figure>,
    site: Option<crate::site::Site>,
    third_parties: BTreeMap<Subject, third_party::ThirdParty>,
    signers: Vec<Signer>,
    checks: Vec<(Kind, SignatureCheck)>,
    /// Store look-ups of [`Subject::Tollgate`] before the rounds.
    misses: Option<f64>,
    upstream: Upstream,
    cluster: Option<Cluster>,
    /// Gateways that are in no row.
    kept: Vec<Tollgate>,
    certificate: KeptCertificate,
    options: &'a Options,
    amounts: Amounts,
    folder: TempDir,
}

impl<'a> Stage<'a> {
    /// Starts only the upstream.
    pub async fn new(options: &'a Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tollgate-bench.").tempdir();
        let folder = folder.map_err(Error::system("cannot create a folder"))?;
        let certificate = certificate::keep_in(folder.path()).map_err(Error::store)?;
        let upstream = Upstream::start(folder.path()).await?;
        Ok(Self {
            ready: BTreeMap::new(),
            figures: Vec::new(),
            site: None,
            third_parties: BTreeMap::new(),
            signers: Vec::new(),
            checks: Vec::new(),
            misses: None,
            upstream,
            cluster: None,
            kept: Vec::new(),
            certificate,
            options,
            amounts: options.amounts(),
            folder,
        })
    }

    /// Prepares the program of these rows, which all have the same subject.
    pub async fn prepare(&mut self, subject: Subject, rows: &[&Row]) -> Result<()> {
        say(&format!("preparing {subject:?}"));
        let asks: Vec<Ask> = rows.iter().map(|row| row.ask).collect();
        let ready = match subject {
            Subject::Openssl => return self.openssl(&asks),
            Subject::NginxIntrospection => self.nginx_introspection().await?,
            Subject::HaproxyJwt => self.haproxy_jwt().await?,
            Subject::MissingThirdParty => self.missing_third_party(&asks).await?,
            Subject::ThirdPartyMemory => return Err(Error::Usage("it has no rows".to_owned())),
            Subject::Nginx => self.nginx().await?,
            Subject::NginxTokenCache => self.nginx_token_cache().await?,
            Subject::Haproxy => self.haproxy().await?,
            Subject::Smallest => self.smallest(&self.options.smallest).await?,
            Subject::SmallestChanged => self.smallest(&self.options.smallest_changed).await?,
            Subject::Tollgate => self.tollgate(&asks).await?,
            Subject::Logged => self.logged().await?,
            Subject::Issuing => self.issuing(&asks).await?,
            Subject::MissingPostgres => self.missing_postgres().await?,
            Subject::MissingSqlite => self.missing_sqlite().await?,
            Subject::Few => self.few().await?,
            Subject::Many => self.many().await?,
            Subject::Other => self.other().await?,
        };
        self.ready.insert(subject, ready);
        Ok(())
    }

    /// A prepared program.
    pub fn ready(&self, subject: Subject) -> Option<&Ready> {
        self.ready.get(&subject)
    }

    /// A signature check in this process.
    pub fn signature_check(&self, kind: Kind) -> Option<&SignatureCheck> {
        self.checks.iter().find_map(|(known, check)| (*known == kind).then_some(check))
    }

    /// A folder for files.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Reverts what the run changed in another gateway.
    pub async fn clear(&self) -> Result<()> {
        match &self.site {
            Some(site) => site.remove().await,
            None => Ok(()),
        }
    }

    /// A new database in the run's PostgreSQL, which starts on the first call.
    pub async fn postgres_url(&mut self, name: &str) -> Result<String> {
        let cluster = match self.cluster.take() {
            Some(cluster) => cluster,
            None => Cluster::start().await?,
        };
        self.cluster.insert(cluster).database(name).await
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}
