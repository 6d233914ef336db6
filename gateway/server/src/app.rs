//! The composition root: everything is created here, once, and passed to its users.
//!
//! 1. Settings, log, certificate; binding the listeners' addresses is tried, so that a port in use is reported
//!    with its setting before anything else happens.
//! 2. On the control runtime: store, plugins, configuration, Admin API, status listener.
//! 3. The proxy, on Pingora's own threads, with the compiled configuration already in place: the
//!    complete configuration applies from the first request.
//! 4. On SIGTERM: the node is no longer ready, accepts no new connections, and exits as soon as no request is
//!    in progress ([`shutdown`](crate::shutdown)).

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tollgate_admin::{Acceptor, Access, AdminState, Authentication, BrowserRules, Course, Hosts as HostRules, Limits};
use tollgate_core::clock::SystemClock;
use tollgate_core::entity;
use tollgate_core::header_text;
use tollgate_core::random::SystemRandom;
use tollgate_core::registry::Registry;
use tollgate_dns::Resolver;
use tollgate_plugin::http_client::Client;
use tollgate_plugin::{Hosts, OutageLimit, Remark};
use tollgate_store::{MigrationError, MigrationId, MigrationPolicy, MigrationSet, Migrations, Options, Store};

use crate::admin_tokens;
use crate::build_info;
use crate::certificate_files;
use crate::check::{self, Reach};
use crate::cli::SettingsArgs;
use crate::control::handover::{self, Handed};
use crate::control::{self};
use crate::declarative::watch::Trigger;
use crate::declarative::{self, Declarative, Reader};
use crate::descriptors::{self, Descriptors};
use crate::explain::{self, Explainer};
use crate::health;
use crate::hot_set;
use crate::log;
use crate::node::{self, ThisNode};
use crate::operator_listeners::OperatorListeners;
use crate::pem::Pem;
use crate::plugins;
use crate::process_memory;
use crate::proxy;
use crate::read_again;
use crate::reload::{self, Live, Reloader};
use crate::remarks::{self, About};
use crate::service_manager::ServiceManager;
pub use crate::settings::read_layers as layers;
use crate::settings::{
    AdminAuth, ConfigurationSource, LineDestination, LogFormat, Settings, UpstreamVerification, WhenDegraded,
};
use crate::shutdown::{DrainTimeouts, Ending, Logs, Shutdown};
use crate::snapshot::configuration::Configuration;
use crate::socket_activation;
use crate::sockets::{Name, Sockets};
use crate::status::{self, Readiness, Status};
use crate::telemetry::access_log::{AccessLog, LineFormat};
use crate::telemetry::audit_log::AuditLog;
use crate::telemetry::certificate_expiry::CertificateExpiry;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::target_health::TargetHealthMetrics;
use crate::telemetry::tasks;
use crate::telemetry::traces::{SpanMetrics, Tracer};
use crate::tls_listeners::{self, Tls};
use crate::upstream::addresses::Network;
use crate::upstream::balancing::Balancers;
use crate::upstream::service::Verification;
use crate::upstream::uses::Uses;

pub mod configuration;
mod serving;
mod traces;

use serving::Serving;

/// A year in seconds.
const FOR_EVER: u64 = 31_536_000;

/// The number of control plane threads: Admin API, status, store and background tasks.
const CONTROL_THREADS: usize = 2;

/// Which database is migrated before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migration {
    /// Only an embedded one, which belongs to this gateway alone.
    Embedded,
    /// Any database.
    First,
}

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control plane's threads cannot be started.
    #[error("cannot start the control runtime")]
    Runtime(#[source] std::io::Error),
    /// An address cannot be bound.
    #[error("{setting}: cannot listen on {address}")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls_listeners::Error),
    /// The data directory is unusable.
    #[error("data_directory: cannot read or write {path}")]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("cannot open the database")]
    Open(#[from] tollgate_store::OpenError),
    /// The database cannot be migrated.
    #[error("cannot migrate the database")]
    Migration(#[from] tollgate_store::MigrationError),
    /// It cannot be told which migrations the database has.
    #[error("cannot read the database's migrations")]
    MigrationStatus(#[source] tollgate_store::MigrationError),
    /// The store failed while the configuration was loaded.
    #[error("cannot load the configuration from the database")]
    Load(#[from] tollgate_core::error::StoreError),
    /// A metric is registered twice.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// The client of the name servers cannot be made.
    #[error("dns: cannot use the name servers")]
    Resolver(#[from] tollgate_dns::SetupError),
    /// File descriptors cannot be counted.
    #[error("cannot count file descriptors")]
    Descriptors(#[from] descriptors::Error),
    /// A plugin cannot start.
    #[error("cannot start plugin {name}")]
    Plugin {
        /// The plugin's name.
        name: &'static str,
        /// The cause.
        #[source]
        source: tollgate_plugin::StartError,
    },
    /// A setting that plugins share is wrong.
    #[error(transparent)]
    Setting(#[from] tollgate_core::setting::SettingError),
    /// A plugin declares an invalid identity header.
    #[error(transparent)]
    IdentityHeader(#[from] proxy::InvalidName),
    /// The access log cannot be opened.
    #[error("access_log: cannot write {path}")]
    AccessLog {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The audit log cannot be opened.
    #[error("audit_log: cannot write {path}")]
    AuditLog {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] traces::Error),
    /// An admin token cannot be made, listed or revoked.
    #[error(transparent)]
    AdminToken(#[from] admin_tokens::Error),
    /// The configuration of a file is not in force.
    #[error(transparent)]
    Declarative(#[from] declarative::Error),
    /// A temporary folder cannot be made.
    #[error("cannot make a temporary folder")]
    Scratch(#[source] std::io::Error),
    /// A file cannot be imported where the configuration comes from one.
    #[error("database.mode is off: the configuration comes from declarative_config, and nothing can be imported")]
    ImportWithoutDatabase,
    /// An export cannot be written.
    #[error("cannot write {path}")]
    Export {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A token is not explained.
    #[error(transparent)]
    Explain(#[from] explain::command::Error),
    /// The node on this machine is not healthy.
    #[error(transparent)]
    Health(#[from] health::Error),
    /// A socket that another process opened cannot be used.
    #[error(transparent)]
    Socket(#[from] socket_activation::Error),
    /// The settings can no longer be read.
    #[error("{0}")]
    Settings(String),
    /// There is nothing to take over, or it is not handed over.
    #[error(transparent)]
    TakeOver(#[from] handover::Error),
    /// The handlers of the signals that end the process cannot be installed.
    #[error("cannot install signal handlers")]
    Signals(#[source] std::io::Error),
}

/// Reads and checks the settings. Reports all problems at once.
pub fn load_settings(arguments: &SettingsArgs) -> Result<Settings, Vec<String>> {
    let layers = layers(arguments).map_err(|problem| vec![problem])?;
    Settings::from_layers(layers).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// The data directory in the settings, whatever is wrong with others.
///
/// # Errors
/// The settings cannot be read.
pub fn data_directory_of(arguments: &SettingsArgs) -> Result<PathBuf, String> {
    let layers = layers(arguments)?;
    let given = layers.given("data_directory").map(|(text, _)| PathBuf::from(text));
    given.filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| "data_directory: expected a path".to_owned())
}

/// What `tollgate check` has found.
pub struct Checked {
    /// What is wrong.
    pub problems: Vec<String>,
    /// What an operator should know of plugins.
    pub remarks: Vec<String>,
}

/// What would keep the gateway from starting or working. The settings themselves have been checked.
pub fn check(settings: &Settings, reach: Reach) -> Result<Checked, StartError> {
    let options = || store_options(settings, Migration::Embedded, &prometheus::Registry::new());
    let of_file = configuration::problems(settings)?;
    let of_traces = traces::problems(settings);
    let runtime = control_runtime()?;
    let _entered = runtime.enter();
    let mut problems = check::of_this_machine(settings, &options());
    problems.extend(of_file);
    problems.extend(of_traces);
    if reach == Reach::Online && problems.is_empty() {
        problems.extend(runtime.block_on(check::of_other_machines(options(), settings)));
    }
    let embedded = settings.database.is_embedded() && check::is_there(&options());
    let is_read = problems.is_empty() && (embedded || reach == Reach::Online);
    let remarks = match is_read {
        true => runtime.block_on(check::of_plugins(options(), &settings.plugins)),
        false => Vec::new(),
    };
    let (faults, remarks): (Vec<_>, Vec<_>) =
        remarks.into_iter().partition(|about| matches!(about.remark, Remark::Fault(_)));
    problems.extend(faults.iter().map(About::text));
    Ok(Checked { problems, remarks: remarks.iter().map(About::text).collect() })
}

/// Makes, lists or revokes admin tokens.
pub fn admin_token(settings: &Settings, step: admin_tokens::Step) -> Result<String, StartError> {
    make_data_directory(settings)?;
    control_runtime()?.block_on(async {
        let options = store_options(settings, Migration::Embedded, &prometheus::Registry::new());
        let store = Store::open(options).await?;
        Ok(admin_tokens::run(&store, step).await?)
    })
}

/// Asks a running node what becomes of a token.
pub fn explain(settings: &Settings, question: &explain::command::Question) -> Result<String, StartError> {
    control_runtime()?.block_on(async {
        let resolver = Resolver::new(tokio::runtime::Handle::current(), &settings.dns)?;
        Ok(explain::command::ask(settings, resolver, question).await?)
    })
}

/// Asks the node on this machine whether it is ready, or alive.
pub fn health(settings: &Settings, question: health::Question) -> Result<String, StartError> {
    control_runtime()?.block_on(async {
        let resolver = Resolver::new(tokio::runtime::Handle::current(), &settings.dns)?;
        Ok(health::ask(settings, resolver, question).await?)
    })
}

/// Applies the missing migrations.
pub fn migrate_up(settings: &Settings) -> Result<String, StartError> {
    if settings.database.is_embedded() {
        make_data_directory(settings)?;
    }
    let options = store_options(settings, Migration::First, &prometheus::Registry::new());
    let applied = control_runtime()?.block_on(Migrations::new(&options).up())?;
    Ok(match applied.as_slice() {
        [] => "The database is up to date.".to_owned(),
        versions => format!("Applied {}.", list(versions)),
    })
}

/// Reports applied and pending migrations.
pub fn migrate_status(settings: &Settings) -> Result<String, StartError> {
    let options = store_options(settings, Migration::Embedded, &prometheus::Registry::new());
    let status =
        control_runtime()?.block_on(Migrations::new(&options).status()).map_err(StartError::MigrationStatus)?;
    let pending = match status.pending.as_slice() {
        [] => "pending: none".to_owned(),
        versions => format!("pending: {}; `tollgate migrate up` applies them", list(versions)),
    };
    Ok(format!("Applied: {}; {pending}.", list(&status.applied)))
}

fn list(versions: &[MigrationId]) -> String {
    match versions {
        [] => "none".to_owned(),
        versions => versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// How a gateway starts.
pub struct Start<'s> {
    /// Where its settings come from; they are read again there.
    pub arguments: &'s SettingsArgs,
    /// Which database is migrated.
    pub migration: Migration,
    /// Whether another gateway's place is taken.
    pub entry: Entry,
}

/// Whether a gateway takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// There is none.
    First,
    /// It takes the place of the one with the same data directory.
    TakesOver,
}

/// Runs the gateway until it is told to stop.
pub fn run(settings: &Settings, start: &Start<'_>) -> Result<(), StartError> {
    let mut settings = settings.clone();
    let in_force = layers(start.arguments).map_err(StartError::Settings)?;
    let activated = socket_activation::activated(&mut settings)?;
    let log = log::init(settings.log_level, settings.log_format);
    let (sockets, predecessor) = enter(start.entry, activated, &mut settings)?;
    let settings = &settings;
    process_memory::protect(settings.core_dumps);
    let started = end_on_panic();
    let open_files = descriptors::raise_limit();
    let identity_headers = plugins::identity_headers()?;
    header_text::set_max_bytes(settings.header_value_bytes);
    try_addresses(settings, &sockets)?;
    make_data_directory(settings)?;
    let (tls, of_proxy, watched) = tls_listeners::set_up(settings)?;
    let runtime = control_runtime()?;
    let (certificates, requests) = read_again::channel();
    let (hangup, control_socket) = {
        let _entered = runtime.enter();
        runtime.spawn(certificate_files::watch(watched, requests));
        let control_socket = predecessor.is_none().then(|| open_control_socket(settings)).flatten();
        (signal(SignalKind::hangup()).map_err(StartError::Signals)?, control_socket)
    };
    let readiness = Arc::new(Readiness::default());
    let course = if predecessor.is_some() { Course::Waiting } else { Course::Accepting };
    let operator = OperatorListeners::new(reload::of_operator(settings), course);
    let (declarations, requests) = read_again::channel();
    let foundation = Foundation {
        migration: start.migration,
        log,
        readiness: Arc::clone(&readiness),
        tls,
        sockets: sockets.clone(),
        operator: operator.clone(),
        when_degraded: Arc::new(ArcSwap::from_pointee(settings.when_degraded)),
        requests,
    };
    let when_degraded = Arc::clone(&foundation.when_degraded);
    let control = runtime.block_on(Control::start(settings, foundation))?;
    if let Some(Handed { keys, .. }) = &predecessor {
        runtime.block_on(hot_set::warm(&control.entities, keys));
    }
    let access_log = open_access_log(settings, &control.metrics)
        .map_err(|source| StartError::AccessLog { path: settings.access_log.to_string(), source })?;
    let tracer = control.tracer.clone();
    let logs = Logs { access: access_log.clone(), audit: control.audit_log.clone(), tracer: tracer.clone() };

    let mut server = Server::new_with_opt_and_conf(None, server_conf(settings));
    server.bootstrap();
    let of_proxy_settings = proxy_settings(settings, identity_headers);
    let lifecycle = proxy::Lifecycle { sockets: sockets.clone(), idle: proxy::IdleConnections::default() };
    let live = Live {
        proxy: Arc::clone(&of_proxy_settings.live),
        connections: Arc::clone(&of_proxy_settings.connections),
        operator: operator.clone(),
        access_log: access_log.clone(),
        when_degraded,
        outage: control.outage,
        drain: Arc::new(ArcSwap::from_pointee(DrainTimeouts::of(settings))),
        node: control.node,
    };
    let manager = ServiceManager::from_environment();
    runtime.spawn(manager.clone().keep_alive(control.metrics.tasks().clone()));
    let ending = Ending {
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&control.metrics),
        logs,
        manager: manager.clone(),
        proxy: lifecycle.clone(),
        connections: Arc::clone(&of_proxy_settings.connections),
        operator: operator.clone(),
        timeouts: Arc::clone(&live.drain),
    };
    let (end, commands) = mpsc::channel(1);
    let shutdown = Shutdown::new(runtime.handle().clone(), ending, commands).map_err(StartError::Signals)?;
    let of_reloads = reload::metrics::Metrics::register(&control.registry)?;
    let files = vec![certificates, declarations];
    let reloader = Reloader::new(start.arguments.clone(), in_force, live, files, manager.clone(), of_reloads);
    let reloader = Arc::new(reloader);
    let entities = control.entities;
    let orders = control::server::Server::new(
        Arc::clone(&reloader),
        end,
        sockets,
        operator.clone(),
        manager.clone(),
        move || hot_set::keys(&entities),
    );
    let gateway = proxy::Gateway {
        settings: of_proxy_settings,
        snapshot: control.configuration.snapshot(),
        metrics: Arc::clone(&control.metrics),
        access_log,
        tracer,
        upstream_uses: Uses::new(settings.proxy.upstream.keepalive_requests),
        descriptors: Arc::new(Descriptors::new(open_files, &control.registry)?),
    };
    let listeners =
        proxy::Listeners { http: settings.proxy.http_listen, https: settings.proxy.https_listen.zip(of_proxy) };
    let shown = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let address = |listener: Option<proxy::Listener>| shown(listener.map(|listener| listener.address));
    let (http, https) = (address(settings.proxy.http_listen), address(settings.proxy.https_listen));
    let (admin, status) = (settings.admin.listen, settings.status_listen);
    let background = runtime.handle().clone();
    let serving = Serving {
        directory: settings.data_directory.clone(),
        predecessor: predecessor.map(|handed| handed.old),
        control_socket,
        orders: Arc::new(orders),
        reloader,
        manager,
        hangup,
    };
    let listening = move || {
        readiness.set_started();
        started.store(true, Ordering::Release);
        let build_info::BuildInfo { version, pingora } = build_info::THIS;
        tracing::info!(version, %pingora, http, https, %admin, %status, open_files, "tollgate is ready");
        operator.accept();
        background.spawn(serving.begin());
    };
    server.add_service(proxy::service(&server.configuration, gateway, listeners, lifecycle, listening));
    server.run(RunArgs { shutdown_signal: Box::new(shutdown) });
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// The sockets of this process, and what the one hands over whose place it takes.
fn enter(entry: Entry, activated: Sockets, settings: &mut Settings) -> Result<(Sockets, Option<Handed>), StartError> {
    match entry {
        Entry::First => Ok((activated, None)),
        Entry::TakesOver => {
            let mut handed = handover::take(&settings.data_directory)?;
            Ok((socket_activation::taken(std::mem::take(&mut handed.sockets), settings)?, Some(handed)))
        }
    }
}

/// Commands cannot reach a process without the socket; signals can.
fn open_control_socket(settings: &Settings) -> Option<UnixListener> {
    let opened = control::server::bind(&settings.data_directory, false).and_then(UnixListener::from_std);
    let warn = |error: &std::io::Error| {
        let directory = settings.data_directory.display();
        tracing::warn!(%directory, %error, "no control socket: `tollgate reload`, `quit` and `upgrade` do not work");
    };
    opened.inspect_err(warn).ok()
}

fn proxy_settings(settings: &Settings, identity_headers: proxy::IdentityHeaders) -> proxy::Settings {
    proxy::Settings {
        product: settings.proxy.product,
        identity_headers,
        keepalive_timeout: settings.proxy.keepalive_timeout,
        head_timeout: settings.proxy.head_timeout,
        upstream: settings.proxy.upstream,
        announcements: settings.proxy.announcements.clone(),
        live: Arc::new(ArcSwap::from_pointee(reload::of_requests(settings))),
        connections: Arc::new(proxy::OpenConnections::new(reload::of_connections(settings))),
    }
}

/// Until what is returned is true, a panic in any thread ends the process: a gateway that has not started must not live
/// on without the part that panicked. Afterwards a panic ends the request or task in which it happens.
fn end_on_panic() -> Arc<AtomicBool> {
    let started = Arc::new(AtomicBool::new(false));
    let (report, seen) = (std::panic::take_hook(), Arc::clone(&started));
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if !seen.load(Ordering::Acquire) {
            std::process::exit(1);
        }
    }));
    started
}

fn make_data_directory(settings: &Settings) -> Result<(), StartError> {
    std::fs::create_dir_all(&settings.data_directory).map_err(|source| data_directory(settings, source))
}

fn data_directory(settings: &Settings, source: std::io::Error) -> StartError {
    StartError::DataDirectory { path: settings.data_directory.clone(), source }
}

/// The parts that run in addition to the proxy.
struct Control {
    configuration: Arc<Configuration>,
    metrics: Arc<Metrics>,
    registry: prometheus::Registry,
    audit_log: AuditLog,
    tracer: Option<Tracer>,
    entities: Registry,
    node: Arc<ThisNode>,
    outage: OutageLimit,
}

/// What these parts stand on.
struct Foundation {
    migration: Migration,
    log: log::Handle,
    readiness: Arc<Readiness>,
    tls: Tls,
    sockets: Sockets,
    operator: OperatorListeners,
    when_degraded: Arc<ArcSwap<WhenDegraded>>,
    /// To read the file of the configuration again.
    requests: read_again::Requests,
}

impl Control {
    async fn start(settings: &Settings, foundation: Foundation) -> Result<Self, StartError> {
        let Foundation { migration, log, readiness, tls, sockets, operator, when_degraded, requests } = foundation;
        let served = tls.served;
        let registry = prometheus::Registry::new();
        registry.register(Box::new(CertificateExpiry::new(Arc::clone(&served), tls.admin.clone())?))?;
        let node_id = node::id(&settings.data_directory).map_err(|source| data_directory(settings, source))?;
        let metrics = Arc::new(Metrics::register(&registry, &node_id.to_string(), tollgate_admin::API_VERSION)?);
        metrics.tasks().add(tasks::Runtime::Control, tokio::runtime::Handle::current());
        let options = store_options(settings, migration, &registry);
        if let (false, Some(wait)) = (settings.database.is_embedded(), settings.database.startup_wait) {
            wait_for_database(&options, wait).await;
        }
        tracing::info!(postgres = !settings.database.is_embedded(), "opening the database");
        let store = Store::open(options).await?;
        #[cfg(pingora_patched)]
        if let Some(tickets) = tls.tickets {
            tickets.start(store.clone(), Arc::new(SystemRandom)).await;
        }
        tracing::info!("starting the plugins");
        readiness.export(&registry)?;
        let audit_log = open_audit_log(settings, &metrics)
            .map_err(|source| StartError::AuditLog { path: settings.audit_log.to_string(), source })?;
        let resolver = Resolver::new(tokio::runtime::Handle::current(), &settings.dns)?;
        let client = http_client(settings, &registry, resolver.clone())?;
        let tracer = traces::start(settings, &client, node_id, SpanMetrics::register(&registry)?)?;
        let hosts = hosts(settings, &store, &registry, client)?;
        let hosts = hosts.on_node(node_id).with_audit_log(Arc::new(audit_log.clone()));
        let entities = entities(&hosts).await?;
        let declarative = declare(settings, &entities, &store, &registry, requests).await?;
        match remarks::read(&store, &settings.plugins).await {
            Ok(found) => found.iter().for_each(remarks::About::log),
            Err(remarks::Error::Store(error)) => return Err(error.into()),
            Err(remarks::Error::Setting(error)) => return Err(error.into()),
        }

        tracing::info!("loading the configuration");
        let verification = match settings.proxy.upstream_verification {
            UpstreamVerification::Verify => Verification::On,
            UpstreamVerification::Skip => Verification::Off,
        };
        let network = Network { destinations: node::upstream_destinations(settings), resolver };
        let balancers =
            Arc::new(Balancers::new(tokio::runtime::Handle::current(), network, settings.proxy.announcements.clone()));
        registry.register(Box::new(TargetHealthMetrics::new(Arc::clone(&balancers), Arc::clone(&metrics))?))?;
        let (compiled_for, upstreams) = (Arc::clone(&metrics), Arc::clone(&balancers));
        let configuration = Configuration::load(entities.clone(), compiled_for, verification, upstreams, served);
        let configuration = Arc::new(configuration.await?);
        store.feed().subscribe(Arc::clone(&configuration) as _);
        // Applies writes between loading and subscribing.
        tollgate_core::change::ChangeListener::reset(configuration.as_ref()).await?;
        tokio::spawn(retry_configuration(Arc::clone(&configuration)));
        tokio::spawn(watch_store(store.clone(), Arc::clone(&metrics)));

        let explainer = Explainer::new(configuration.snapshot());
        let of_node = Arc::clone(&metrics);
        let node = ThisNode::new(node_id, settings, store.clone(), registry.clone(), of_node, log, explainer);
        let node = Arc::new(node.with_upstreams(balancers));
        let admin = AdminState::new(
            entities.clone(),
            Arc::new(store.clone()),
            Arc::clone(&node) as _,
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
            Limits::default(),
        );
        let admin = admin.with_access(access(settings, &store)).with_audit_log(Arc::new(audit_log.clone()));
        let admin = if settings.admin.ui { admin.with_console() } else { admin };
        let admin = match declarative {
            Some(declarative) => admin.with_declarations(declarative),
            None => admin,
        };
        let status = Status { readiness, when_degraded, store, metrics: registry.clone() };
        serve_control(settings, (&sockets, &operator), &metrics, (Arc::new(admin), tls.admin), status)?;
        let outage = hosts.outage_limit();
        Ok(Self { configuration, metrics, registry, audit_log, tracer, entities, node, outage })
    }
}

/// What plugins run on.
fn hosts(
    settings: &Settings,
    store: &Store,
    registry: &prometheus::Registry,
    client: Client,
) -> Result<Hosts, StartError> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(Hosts::new(clock, random, store.clone(), client, registry.clone(), settings.plugins.clone())?)
}

/// Puts the configuration of the file in force, and keeps reading the file; `None`: the configuration is in the
/// database.
async fn declare(
    settings: &Settings,
    entities: &Registry,
    store: &Store,
    registry: &prometheus::Registry,
    requests: read_again::Requests,
) -> Result<Option<Arc<Declarative>>, StartError> {
    let ConfigurationSource::File { path, is_watched } = &settings.configuration else {
        if store.forget_declaration().await? {
            tracing::warn!(
                "database.mode is on: the configuration that came from a file is now changed in the database"
            );
        }
        return Ok(None);
    };
    let objections = node::objections(node::upstream_destinations(settings));
    let reader = Reader::new(entities.clone(), Arc::new(SystemClock), Arc::new(SystemRandom), objections);
    let metrics = declarative::metrics::Metrics::register(registry)?;
    let declarative = Arc::new(Declarative::new(reader, store.clone(), metrics).await?);
    let Some(path) = path else { return Ok(Some(declarative)) };
    let read = declarative::watch::State::of(path);
    declarative.load(path).await?;
    let trigger = if *is_watched { Trigger::Change } else { Trigger::Signal };
    let (loaded, path) = (Arc::clone(&declarative), path.clone());
    tokio::spawn(declarative::watch::keep_loading(loaded, path, trigger, read, requests));
    Ok(Some(declarative))
}

/// Waits until the database can be reached, for so long at most; what else may be wrong with it is found when it is
/// opened.
async fn wait_for_database(options: &Options, wait: Duration) {
    let deadline = tokio::time::Instant::now() + wait;
    while let Err(error @ MigrationError::Connect(_)) = Migrations::new(options).status().await {
        if tokio::time::Instant::now() >= deadline {
            break;
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the database");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Serves the Admin API and the status listener.
fn serve_control(
    settings: &Settings,
    (sockets, operator): (&Sockets, &OperatorListeners),
    metrics: &Metrics,
    (admin, tls): (Arc<AdminState>, Option<Acceptor>),
    status: Status,
) -> Result<(), StartError> {
    if settings.admin.sends_tokens_in_clear() {
        tracing::warn!(
            listen = %settings.admin.listen,
            "admin tokens cross the network in clear text: set admin.tls.certificate, or put TLS in front"
        );
    }
    let limits = metrics.limits();
    let (address, api) = (settings.admin.listen, tollgate_admin::router(Arc::clone(&admin)));
    let listening = sockets.listen(Name::Admin, address);
    let served = listening.and_then(|socket| operator.serve_admin(socket, tls, api, limits));
    served.map_err(|source| StartError::Listen { setting: "admin.listen", address, source })?;
    let rules = browser_rules(settings, settings.status_listen, HostCheck::OnLoopback);
    let shown = status::router(status).merge(tollgate_admin::status_router(Arc::clone(&admin)));
    let (address, shown) = (settings.status_listen, tollgate_admin::guard_status(shown, admin, rules));
    let listening = sockets.listen(Name::Status, address);
    let served = listening.and_then(|socket| operator.serve_status(socket, shown, limits));
    served.map_err(|source| StartError::Listen { setting: "status.listen", address, source })
}

/// Who may use the Admin API.
fn access(settings: &Settings, store: &Store) -> Access {
    let authentication = match settings.admin.auth {
        AdminAuth::Off => Authentication::Connection,
        AdminAuth::Tokens => Authentication::Tokens(admin_tokens::of(store)),
    };
    let check = if settings.admin.knows_callers() { HostCheck::Never } else { HostCheck::OnLoopback };
    Access { browser: browser_rules(settings, settings.admin.listen, check), authentication }
}

/// Whether the name by which a listener is addressed matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostCheck {
    /// Callers prove who they are.
    Never,
    /// A page that reaches the listener under its own name could use it.
    OnLoopback,
}

fn browser_rules(settings: &Settings, listener: SocketAddr, check: HostCheck) -> BrowserRules {
    let hosts = if check == HostCheck::OnLoopback && tollgate_admin::is_loopback(listener) {
        HostRules::Local { listener: listener.ip(), allowed: settings.admin.allowed_hosts.clone() }
    } else {
        HostRules::Any
    };
    BrowserRules { origins: settings.admin.allowed_origins.clone(), hosts }
}

/// The client for plugins' calls, which do not reach this gateway itself.
fn http_client(
    settings: &Settings,
    registry: &prometheus::Registry,
    resolver: Resolver,
) -> Result<Client, prometheus::Error> {
    Client::for_gateway(tokio::runtime::Handle::current(), registry, node::outbound_destinations(settings), resolver)
}

/// The kinds and plugins of this gateway.
async fn entities(hosts: &Hosts) -> Result<Registry, StartError> {
    let mut registry = Registry::new();
    let kinds = [
        entity::certificate::kind::<Pem>(),
        entity::sni::kind(),
        entity::ca_certificate::kind::<Pem>(),
        entity::upstream::kind(),
        entity::target::kind(),
        entity::service::kind(),
        entity::route::kind(),
        entity::consumer::kind(),
        entity::plugin::kind(),
    ];
    for kind in kinds {
        registry.add_collection(hosts.store.documents(Arc::new(kind)));
    }
    for factory in plugins::all() {
        let started = factory.start(&hosts.of(factory.as_ref())).await;
        let started = started.map_err(|source| StartError::Plugin { name: factory.name(), source })?;
        let definition = factory.definition(&hosts.settings);
        let definition =
            definition.map_err(|error| StartError::Plugin { name: factory.name(), source: error.into() })?;
        registry.add_plugin(definition, started);
    }
    Ok(registry)
}

fn open_access_log(settings: &Settings, metrics: &Metrics) -> std::io::Result<AccessLog> {
    let Some(destination) = open_lines(&settings.access_log, 0o666)? else { return Ok(AccessLog::off()) };
    let format = match settings.log_format {
        LogFormat::Human => LineFormat::Human,
        LogFormat::Json => LineFormat::Json,
    };
    AccessLog::to_writer(destination, format, settings.access_log_fields.clone(), metrics.access_log_dropped())
}

fn open_audit_log(settings: &Settings, metrics: &Metrics) -> std::io::Result<AuditLog> {
    match open_lines(&settings.audit_log, 0o600)? {
        None => Ok(AuditLog::off()),
        Some(destination) => AuditLog::to_writer(destination, metrics.audit_log_dropped()),
    }
}

/// Opens the destination of a log; a file that does not exist gets this mode, less the process's mask.
fn open_lines(destination: &LineDestination, mode: u32) -> std::io::Result<Option<Box<dyn Write + Send>>> {
    Ok(match destination {
        LineDestination::Off => None,
        LineDestination::StandardOutput => Some(Box::new(std::io::stdout())),
        LineDestination::File(path) => {
            Some(Box::new(OpenOptions::new().create(true).append(true).mode(mode).open(path)?))
        }
    })
}

async fn retry_configuration(configuration: Arc<Configuration>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        configuration.retry().await;
    }
}

async fn watch_store(store: Store, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        metrics.datastore_reachable().set(i64::from(status::responds(&store).await));
    }
}

fn store_options(settings: &Settings, migration: Migration, metrics: &prometheus::Registry) -> Options {
    let mut options = Options::new(settings.database.url.expose());
    options.replicas = settings.database.replicas.iter().map(|url| url.expose().to_owned()).collect();
    options.max_connections = settings.database.max_connections;
    options.acquire_timeout = settings.database.acquire_timeout;
    options.statement_timeout = settings.database.statement_timeout;
    options.metrics = metrics.clone();
    let of_plugins = plugins::all().into_iter().map(|plugin| (plugin.name(), plugin.migrations()));
    options.migrations.extend(of_plugins.map(|(owner, migrations)| MigrationSet { owner, migrations }));
    options.migration = match migration {
        Migration::First => MigrationPolicy::Migrate,
        Migration::Embedded if settings.database.is_embedded() => MigrationPolicy::Migrate,
        Migration::Embedded => MigrationPolicy::Refuse,
    };
    options
}

fn control_runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)
}

/// Pingora ends the process when it cannot bind; this check names the setting at fault first.
fn try_addresses(settings: &Settings, sockets: &Sockets) -> Result<(), StartError> {
    for name in [Name::Http, Name::Https].into_iter().filter(|name| !sockets.has(*name)) {
        if let Some(address) = socket_activation::address_of(name, settings) {
            let setting = name.setting();
            TcpListener::bind(address).map_err(|source| StartError::Listen { setting, address, source })?;
        }
    }
    Ok(())
}

fn server_conf(settings: &Settings) -> ServerConf {
    let mut conf = ServerConf {
        threads: settings.proxy.threads,
        // Measured: see docs/performance.md.
        work_stealing: false,
        // `shutdown` ends the process before.
        grace_period_seconds: Some(FOR_EVER),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    proxy::prepare(&mut conf, &settings.proxy.upstream);
    conf
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::settings::Layers;

    /// In a process of its own, since it may end.
    #[test]
    fn a_panic_ends_a_process_that_has_not_started_and_no_other() {
        const MOMENT: &str = "TOLLGATE_TEST_PANIC";
        const THIS: &str = "app::tests::a_panic_ends_a_process_that_has_not_started_and_no_other";
        if let Ok(moment) = std::env::var(MOMENT) {
            end_on_panic().store(moment == "after", Ordering::Release);
            let panicked = std::thread::spawn(|| panic!("a part that panics")).join();
            std::process::exit(if panicked.is_err() { 7 } else { 8 });
        }
        for (moment, expected) in [("before", 1), ("after", 7)] {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            let output = command.args(["--exact", THIS, "--nocapture"]).env(MOMENT, moment).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(expected), "{moment}: {said}");
            assert!(said.contains("a part that panics"), "{moment}: {said}");
        }
    }

    #[tokio::test]
    async fn plugins_cannot_call_this_gateway_unless_the_settings_allow_it() {
        let refused = |flags: &[&str]| {
            let mut layers = Layers::defaults();
            layers.flags(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
            let settings = Settings::from_layers(layers).expect("valid settings");
            let resolver = Resolver::new(tokio::runtime::Handle::current(), &settings.dns).expect("a resolver");
            let client = http_client(&settings, &prometheus::Registry::new(), resolver).expect("a client");
            let urls = ["http://127.0.0.1:8000/", "https://localhost:8443/", "http://127.0.0.1:8001/"];
            urls.map(|url| client.refuses_literal(&url.parse().expect("a URL")).is_some())
        };
        assert_eq!(refused(&[]), [true, true, true]);
        assert_eq!(refused(&["outbound.allowed_addresses=127.0.0.1"]), [false, true, false]);
        assert_eq!(refused(&["outbound.allowed_addresses=127.0.0.1,::1"]), [false, false, false]);
    }
}
