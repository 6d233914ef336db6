//! Every setting of the gateway: path, default, and what it is for. The configuration file, the
//! environment names, the `--set` flag, `conf/tollgate.yaml` and the docs all speak of this list.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its path in the file, such as `proxy.http_listen`.
    pub path: &'static str,
    /// Its value when nothing else is said; empty is "not set".
    pub default: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
}

impl Setting {
    /// The environment variable of this setting: `TOLLGATE_` and its path in capitals.
    pub fn environment_name(&self) -> String {
        format!("TOLLGATE_{}", self.path.replace('.', "_").to_uppercase())
    }
}

const fn setting(path: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { path, default, about }
}

/// All settings, in the order of the shipped file.
pub const SETTINGS: &[Setting] = &[
    setting(
        "data_directory",
        "data",
        "Where what the gateway makes for itself is kept: the embedded database and the self-signed certificate.",
    ),
    setting("proxy.http_listen", "0.0.0.0:8000", "Where clients are served over plain HTTP/1.1; `off` for nowhere."),
    setting(
        "proxy.https_listen",
        "0.0.0.0:8443",
        "Where clients are served over TLS (HTTP/1.1 and HTTP/2); `off` for nowhere.",
    ),
    setting("proxy.threads", "0", "Threads that serve clients; 0 is one for each processor."),
    setting("proxy.keepalive_timeout", "60s", "How long an idle client connection is kept."),
    setting(
        "proxy.head_timeout",
        "60s",
        "How long a client may take for the head of an HTTP/1.1 request, from its first byte to its last.",
    ),
    setting("proxy.read_timeout", "60s", "How long a client may pause while it sends its request."),
    setting("proxy.write_timeout", "60s", "How long a client may pause while it takes its response."),
    setting("proxy.drain_timeout", "30s", "How long requests under way may go on after SIGTERM."),
    setting(
        "proxy.upstream_tls_verify",
        "true",
        "Whether HTTPS upstreams are verified where the service does not say (its `tls_verify` is null).",
    ),
    setting(
        "tls.certificate",
        "",
        "PEM file with the certificate chain for TLS clients; empty: a self-signed one is made and kept.",
    ),
    setting("tls.key", "", "PEM file with the private key of `tls.certificate`."),
    setting(
        "admin.listen",
        "127.0.0.1:8001",
        "Where the Admin API listens. It has no login of its own: keep it on a trusted address.",
    ),
    setting(
        "status.listen",
        "127.0.0.1:8007",
        "Where liveness (/status), readiness (/status/ready) and metrics (/metrics) are served.",
    ),
    setting(
        "database.url",
        "",
        "`sqlite:PATH`, or `postgres://user:password@host:port/database`; empty: SQLite, `tollgate.db` in the data directory.",
    ),
    setting("database.max_connections", "8", "The most connections of this process to PostgreSQL."),
    setting("database.acquire_timeout", "2s", "How long a request may wait for a free connection."),
    setting("database.statement_timeout", "5s", "How long one statement may run."),
    setting("token_cache.max_bytes", "268435456", "The most memory that cached tokens may weigh."),
    setting("token_cache.negative_ttl", "5s", "How long an unknown token is remembered as unknown."),
    setting(
        "trusted_ips",
        "",
        "Addresses (CIDR) of proxies in front, whose X-Forwarded-* and X-Real-IP headers are believed.",
    ),
    setting("access_log", "-", "Where the access log goes: `-` is standard output, `off` is nowhere, else a file."),
    setting("log.level", "info", "error, warn, info, debug or trace."),
    setting("log.format", "human", "`human` or `json`, for log and access log."),
];
