//! Every setting of the gateway: path, default, and description. The configuration file, the
//! environment names, the `--set` flag, `conf/tollgate.yaml` and the docs all list these and those
//! of plugins.

use std::sync::LazyLock;

use tollgate_core::setting::Setting;

use crate::plugins;

const fn setting(path: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting::new(path, default, about)
}

/// All settings: the gateway's in the order of the shipped file, then those of plugins.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let of_plugins = plugins::all().into_iter().flat_map(|plugin| plugin.settings());
    GATEWAY.iter().chain(of_plugins).copied().collect()
});

const GATEWAY: &[Setting] = &[
    setting(
        "data_directory",
        "data",
        "Directory of the gateway's own files: the embedded database, the self-signed certificate, the node id.",
    ),
    setting("proxy.http_listen", "0.0.0.0:8000", "Address of the plain HTTP/1.1 listener; `off`: none."),
    setting("proxy.https_listen", "0.0.0.0:8443", "Address of the TLS listener (HTTP/1.1 and HTTP/2); `off`: none."),
    setting(
        "proxy.identify_as",
        "tollgate",
        "Name of the proxy in Server and Via: `tollgate`, or `kong` for clients and dashboards that look for it.",
    ),
    setting("proxy.threads", "0", "Threads that serve clients; 0: one per processor."),
    setting("proxy.keepalive_timeout", "60s", "How long an idle client connection is kept."),
    setting(
        "proxy.head_timeout",
        "60s",
        "How long a client may take for the head of an HTTP/1.1 request, from its first byte to its last.",
    ),
    setting("proxy.read_timeout", "60s", "How long a client may pause while it sends its request."),
    setting("proxy.write_timeout", "60s", "How long a client may pause while it takes its response."),
    setting("proxy.drain_timeout", "30s", "How long requests in progress may continue after SIGTERM."),
    setting(
        "proxy.upstream_tls_verify",
        "true",
        "Whether HTTPS upstreams are verified if the service does not say (its `tls_verify` is null).",
    ),
    setting("proxy.upstream_keepalive_timeout", "60s", "How long an idle connection to an upstream is kept."),
    setting(
        "proxy.upstream_keepalive_pool_size",
        "512",
        "How many idle connections to upstreams are kept per thread; 0: none.",
    ),
    setting(
        "proxy.upstream_keepalive_requests",
        "10000",
        "How many requests use one connection to an upstream; 1: a connection per request.",
    ),
    setting(
        "tls.certificate",
        "",
        "PEM file with the certificate chain for TLS clients; empty: a self-signed one is created and kept.",
    ),
    setting("tls.key", "", "PEM file with the private key of `tls.certificate`."),
    setting(
        "admin.listen",
        "127.0.0.1:8001",
        "Address of the Admin API. It has no login of its own: keep it on a trusted address.",
    ),
    setting(
        "status.listen",
        "127.0.0.1:8007",
        "Address of liveness (/status), readiness (/status/ready) and metrics (/metrics).",
    ),
    setting(
        "database.url",
        "",
        "`sqlite:PATH`, or `postgres://user:password@host:port/database`; empty: SQLite, `tollgate.db` in the data directory.",
    ),
    setting("database.max_connections", "8", "Maximum number of connections of this process to PostgreSQL."),
    setting("database.acquire_timeout", "2s", "How long a request may wait for a free connection."),
    setting("database.statement_timeout", "5s", "How long one statement may run."),
    setting(
        "trusted_ips",
        "",
        "Addresses (CIDR) of proxies in front, whose X-Forwarded-* and X-Real-IP headers are trusted.",
    ),
    setting("access_log", "-", "Destination of the access log: `-` is standard output, `off` is none, else a file."),
    setting("log.level", "info", "Minimum severity that is logged: error, warn, info, debug or trace."),
    setting("log.format", "human", "`human` or `json`, for log and access log."),
];
