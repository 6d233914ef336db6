//! The gateway.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tollgate_quickstart::certificate::KeptCertificate;

use super::{Listening, Proxy, free_addresses};
use crate::error::{Error, Result};

/// How long it may take from listening to ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Whether there is an access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// No.
    Off,
    /// To a file.
    File,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of its folder.
    pub name: &'static str,
    /// Its store.
    pub database_url: String,
    /// Maximum weight of cached tokens.
    pub cache_bytes: u64,
    /// The share of it for tokens of third parties.
    pub third_party_percent: u8,
    /// Whether requests are logged.
    pub access_log: AccessLog,
    /// Proxies whose X-Forwarded-Proto is trusted; empty: none.
    pub trusted_ips: &'static str,
}

/// A running gateway.
pub struct Tollgate {
    /// As a proxy.
    pub proxy: Proxy,
    /// Its Admin API.
    pub admin: SocketAddr,
    /// Readiness and metrics.
    pub status: SocketAddr,
    /// The time from start to ready.
    pub started_in: Duration,
}

impl Tollgate {
    /// Starts `program`, a release build, with one thread for clients.
    pub async fn start(
        folder: &Path,
        program: &Path,
        settings: &Settings,
        certificate: &KeptCertificate,
    ) -> Result<Self> {
        let [http, https, admin, status] = free_addresses()?;
        let home = folder.join(settings.name);
        fs::create_dir_all(&home).map_err(Error::system("cannot create a folder for the gateway"))?;
        let access_log = match settings.access_log {
            AccessLog::Off => PathBuf::from("off"),
            AccessLog::File => home.join("access.log"),
        };
        // It runs in its own folder.
        let program = std::path::absolute(program).map_err(Error::system("there is no working directory"))?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TOLLGATE_")) {
            command.env_remove(name);
        }
        command
            .args(["run", "--migrate"])
            .current_dir(&home)
            .env("TOLLGATE_DATA_DIRECTORY", &home)
            .env("TOLLGATE_PROXY_HTTP_LISTEN", http.to_string())
            .env("TOLLGATE_PROXY_HTTPS_LISTEN", https.to_string())
            .env("TOLLGATE_PROXY_THREADS", "1")
            .env("TOLLGATE_LIMITS_INTROSPECTIONS_PER_SECOND", "0")
            .env("TOLLGATE_PROXY_DRAIN_TIMEOUT", "1s")
            .env("TOLLGATE_ADMIN_LISTEN", admin.to_string())
            .env("TOLLGATE_STATUS_LISTEN", status.to_string())
            .env("TOLLGATE_DATABASE_URL", &settings.database_url)
            .env("TOLLGATE_TOKEN_CACHE_MAX_BYTES", settings.cache_bytes.to_string())
            .env("TOLLGATE_TOKEN_CACHE_THIRD_PARTY_PERCENT", settings.third_party_percent.to_string())
            .env("TOLLGATE_TRUSTED_IPS", settings.trusted_ips)
            .env("TOLLGATE_TLS_CERTIFICATE", &certificate.certificate_file)
            .env("TOLLGATE_TLS_KEY", &certificate.key_file)
            .env("TOLLGATE_ACCESS_LOG", &access_log);
        let started = Instant::now();
        let log = home.join("output");
        let process = Listening { name: settings.name, command, address: http, log: &log }.start().await?;
        let proxy = Proxy { process: process.id(), http: Some(http), https: Some(https), guard: Some(process) };
        let mut tollgate = Self { proxy, admin, status, started_in: Duration::ZERO };
        tollgate.wait_until_ready(&log, started).await?;
        Ok(tollgate)
    }

    async fn wait_until_ready(&mut self, log: &Path, started: Instant) -> Result<()> {
        let url = format!("http://{}/status/ready", self.status);
        while started.elapsed() < READY_WITHIN {
            if reqwest::get(&url).await.is_ok_and(|response| response.status().is_success()) {
                self.started_in = started.elapsed();
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        Err(Error::NotStarted { program: "tollgate".to_owned(), said })
    }
}

/// The sum of a metric's samples whose labels contain `label`, from a gateway's status listener.
pub async fn metric(status: SocketAddr, name: &str, label: &str) -> Result<f64> {
    let url = format!("http://{status}/metrics");
    let unreachable = |source| Error::Unreachable { url: url.clone(), source };
    let page = reqwest::get(&url).await.map_err(unreachable)?.text().await.map_err(unreachable)?;
    let samples = page.lines().filter(|line| {
        let series = line.strip_prefix(name);
        series.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
    });
    Ok(samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
