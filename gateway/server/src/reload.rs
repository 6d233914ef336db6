//! Reading the settings again while the gateway runs: on SIGHUP and for `tollgate reload`.
//!
//! 1. The settings are read from where they came from at start (file, environment, flags), and checked as a whole. A
//!    fault changes nothing.
//! 2. Those that can change take effect at once, each request seeing all of them or none; the others are named, since
//!    they need a restart.
//! 3. The files that settings name (certificates, the configuration) are read again, whatever became of the settings.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tollgate_admin::{Bounds, SettingsStanding};
use tollgate_plugin::OutageLimit;

use crate::cli::SettingsArgs;
use crate::node::ThisNode;
use crate::operator_listeners::{OperatorLimits, OperatorListeners};
use crate::proxy::{self, ConnectionLimits, OpenConnections, TrustedIps};
use crate::read_again::Asker;
use crate::service_manager::ServiceManager;
use crate::settings::{Layers, Settings, WhenDegraded, is_live, read_layers};
use crate::shutdown::DrainTimeouts;
use crate::telemetry::access_log::AccessLog;

pub mod metrics;

use self::metrics::Metrics;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The settings that have changed, and are in force.
    pub changed: Vec<&'static str>,
    /// Those that differ from what is in force until the gateway is restarted or upgraded.
    pub needs_restart: Vec<&'static str>,
    /// What is wrong with the settings, of which nothing is in force then, or with files.
    pub faults: Vec<String>,
}

impl Reloaded {
    /// For people, line by line, without the faults.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.changed.is_empty() {
            lines.push(format!("Changed: {}.", self.changed.join(", ")));
        }
        if !self.needs_restart.is_empty() {
            let settings = self.needs_restart.join(", ");
            lines.push(format!("Not in force before a restart or `tollgate upgrade`: {settings}."));
        }
        if lines.is_empty() && self.faults.is_empty() {
            lines.push("No setting has changed.".to_owned());
        }
        lines
    }
}

/// What settings that change while the gateway runs are read through.
pub struct Live {
    /// By requests.
    pub proxy: Arc<ArcSwap<proxy::Live>>,
    /// By the proxy, for each connection.
    pub connections: Arc<OpenConnections>,
    /// By the operator's listeners, for each connection.
    pub operator: OperatorListeners,
    /// By each line.
    pub access_log: AccessLog,
    /// By readiness.
    pub when_degraded: Arc<ArcSwap<WhenDegraded>>,
    /// By caches, while the store is away.
    pub outage: OutageLimit,
    /// When the process ends.
    pub drain: Arc<ArcSwap<DrainTimeouts>>,
    /// Shows them, and sets the level of the log.
    pub node: Arc<ThisNode>,
}

impl Live {
    fn apply(&self, settings: &Settings, changed: &[&'static str]) {
        self.proxy.store(Arc::new(of_requests(settings)));
        self.connections.set_limits(of_connections(settings));
        self.operator.set_limits(of_operator(settings));
        self.access_log.set_fields(settings.access_log_fields.clone());
        self.when_degraded.store(Arc::new(settings.when_degraded));
        self.outage.set(&settings.plugins);
        self.drain.store(Arc::new(DrainTimeouts::of(settings)));
        self.node.set_configuration(settings);
        // The Admin API may have set another one meanwhile.
        if changed.contains(&"log.level") {
            self.node.set_level(settings);
        }
    }
}

/// The settings that each request reads.
pub fn of_requests(settings: &Settings) -> proxy::Live {
    proxy::Live {
        trusted_ips: trusted(settings),
        lenient_path_services: settings.proxy.lenient_path_services.clone(),
        read_timeout: settings.proxy.read_timeout,
        write_timeout: settings.proxy.write_timeout,
        limits: settings.limits,
    }
}

/// How many connections clients may have.
pub fn of_connections(settings: &Settings) -> ConnectionLimits {
    let limits = &settings.limits;
    ConnectionLimits::new(limits.connections, limits.connections_per_address, trusted(settings))
}

/// What connections of operators may cost. Their own proxies are not told apart: the limits are set with them in mind.
pub fn of_operator(settings: &Settings) -> OperatorLimits {
    let limits = &settings.limits;
    let (most, most_per_address) = (limits.operator_connections, limits.operator_connections_per_address);
    let bounds = Bounds {
        handshake_timeout: limits.tls_handshake_timeout,
        head_timeout: settings.proxy.head_timeout,
        write_timeout: settings.proxy.write_timeout,
        head_bytes: limits.head_bytes,
        header_count: limits.header_count,
    };
    OperatorLimits { bounds, connections: ConnectionLimits::new(most, most_per_address, TrustedIps::default()) }
}

fn trusted(settings: &Settings) -> TrustedIps {
    TrustedIps::new(settings.trusted_ips.iter().copied())
}

/// Reads the settings again.
pub struct Reloader {
    source: SettingsArgs,
    live: Live,
    /// Those that are in force; held while others are read.
    in_force: tokio::sync::Mutex<Layers>,
    files: Vec<Asker>,
    manager: ServiceManager,
    metrics: Metrics,
}

impl Reloader {
    /// Reads them from there; `in_force` are those that the process started with.
    pub fn new(
        source: SettingsArgs,
        in_force: Layers,
        live: Live,
        files: Vec<Asker>,
        manager: ServiceManager,
        metrics: Metrics,
    ) -> Self {
        let in_force = tokio::sync::Mutex::new(in_force);
        Self { source, live, in_force, files, manager, metrics }
    }

    /// Reads the settings again, and the files that they name.
    pub async fn reload(&self) -> Reloaded {
        let mut in_force = self.in_force.lock().await;
        self.manager.reloading();
        let mut reloaded = match self.read(&mut in_force) {
            Ok(reloaded) => reloaded,
            Err(faults) => Reloaded { faults, ..Reloaded::default() },
        };
        self.tell(&reloaded);
        for files in &self.files {
            // They have been logged by whoever watches them.
            reloaded.faults.extend(files.ask().await);
        }
        self.manager.ready();
        reloaded
    }

    /// Puts the settings in force; what is wrong with them, if nothing was changed.
    fn read(&self, in_force: &mut Layers) -> Result<Reloaded, Vec<String>> {
        let lines =
            |problems: Vec<crate::settings::Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        let read = read_layers(&self.source).map_err(|problem| vec![problem])?;
        Settings::from_layers(read.clone()).map_err(lines)?;
        let (changed, needs_restart): (Vec<_>, Vec<_>) =
            in_force.differences(&read).into_iter().partition(|path| is_live(path));
        // Those that stay as they are may not go with the new ones.
        let next = read.keeping(in_force, |path| !is_live(path));
        let settings = Settings::from_layers(next.clone()).map_err(lines)?;
        self.live.apply(&settings, &changed);
        *in_force = next;
        Ok(Reloaded { changed, needs_restart, faults: Vec::new() })
    }

    fn tell(&self, reloaded: &Reloaded) {
        let Reloaded { changed, needs_restart, faults } = reloaded;
        let owned = |paths: &[&'static str]| paths.iter().map(|path| (*path).to_owned()).collect();
        if faults.is_empty() {
            tracing::info!(
                changed = changed.join(" "),
                needs_restart = needs_restart.join(" "),
                "read the settings again"
            );
            self.metrics.applied(needs_restart.len());
            let standing = SettingsStanding { faults: Vec::new(), needs_restart: owned(needs_restart) };
            self.live.node.set_settings_standing(standing);
        } else {
            tracing::error!(faults = faults.len(), "cannot use the new settings; those before stay in force");
            faults.iter().for_each(|fault| tracing::error!("{fault}"));
            self.metrics.refused();
            self.live.node.refuse_settings(faults.clone());
        }
    }
}
