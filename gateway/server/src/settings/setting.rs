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
pub static SETTINGS: LazyLock<Vec<Setting>> =
    LazyLock::new(|| GATEWAY.iter().chain(plugins::settings()).copied().collect());

const GATEWAY: &[Setting] = &[
    setting(
        "data_directory",
        "data",
        "Directory for files that the gateway creates: the embedded database, the self-signed certificate, the node id.",
    ),
    setting(
        "proxy.http_listen",
        "0.0.0.0:8000",
        "Address of the plain HTTP/1.1 listener, with flags: `http2` (prior knowledge), `proxy_protocol` (from trusted_ips); `off`: none.",
    ),
    setting(
        "proxy.https_listen",
        "0.0.0.0:8443",
        "Address of the TLS listener (HTTP/1.1 and HTTP/2), with the flag `proxy_protocol` (from trusted_ips); `off`: none.",
    ),
    setting(
        "proxy.identify_as",
        "tollgate",
        "Name of the proxy in Server and Via: `tollgate`, or `kong` for clients and dashboards that rely on it.",
    ),
    setting("proxy.threads", "0", "Worker threads; 0: one per processor."),
    setting("proxy.keepalive_timeout", "60s", "How long an idle client connection is kept open."),
    setting(
        "proxy.head_timeout",
        "60s",
        "Deadline for reading the head of an HTTP/1.1 request, from its first byte to its last.",
    ),
    setting("proxy.read_timeout", "60s", "How long a client may pause while sending its request."),
    setting("proxy.write_timeout", "60s", "How long a client may pause while reading its response."),
    setting("proxy.drain_timeout", "30s", "How long requests in progress may continue after SIGTERM."),
    setting(
        "proxy.upgrade_drain_timeout",
        "10m",
        "How long connections may continue in a process whose listeners a new one has taken over (`tollgate upgrade`).",
    ),
    setting(
        "proxy.upstream_tls_verify",
        "true",
        "Whether to verify HTTPS upstreams for services whose `tls_verify` is null.",
    ),
    setting(
        "proxy.lenient_path_services",
        "",
        "Names or ids of services that also get paths which leave their route or service once read in another way.",
    ),
    setting("proxy.upstream_keepalive_timeout", "60s", "How long an idle upstream connection is kept open."),
    setting(
        "proxy.upstream_keepalive_pool_size",
        "512",
        "Maximum number of idle upstream connections per thread; 0: none are kept.",
    ),
    setting(
        "proxy.upstream_keepalive_requests",
        "10000",
        "Maximum number of requests per upstream connection; 1: a new connection for each request.",
    ),
    setting(
        "proxy.upstream_http2",
        "false",
        "Whether `https` upstreams get HTTP/2 where they offer it (ALPN). Services with `grpc` and `grpcs` always use it.",
    ),
    setting(
        "proxy.upstream_proxy_protocol",
        "off",
        "PROXY header with which upstream connections begin: `off`, `v1` or `v2`.",
    ),
    setting(
        "proxy.upstream_proxy_protocol_services",
        "",
        "Names or ids of the services whose upstreams get it; empty: all.",
    ),
    setting(
        "proxy.allowed_upstream_addresses",
        "",
        "Addresses (CIDR) to which services may point although they are link-local, a cloud's metadata service, or a listener of this gateway.",
    ),
    setting(
        "tls.certificate",
        "",
        "PEM file with the certificate chain for TLS clients; empty: a self-signed one is generated and kept.",
    ),
    setting("tls.key", "", "PEM file with the private key of `tls.certificate`."),
    setting(
        "tls.key_passphrase_file",
        "",
        "File with the passphrase of `tls.key`, if that is encrypted; a line break at its end is not part of it.",
    ),
    setting(
        "tls.client_certificates",
        "off",
        "Whether TLS clients are asked for a certificate: `off`, `optional` or `required`; for tokens that are bound to one, and clients that authenticate with one.",
    ),
    setting(
        "tls.client_ca",
        "",
        "PEM file with the authorities that vouch for clients' certificates; with `required`, others are refused in the handshake.",
    ),
    setting("tls.versions", "1.2,1.3", "Versions of TLS that are offered: 1.2, 1.3 or both; also by admin.listen."),
    setting(
        "tls.ciphers",
        "",
        "Ciphers of TLS 1.2, by OpenSSL's names; also of admin.listen. Empty: Mozilla's intermediate ones.",
    ),
    setting("tls.cipher_suites", "", "Cipher suites of TLS 1.3; also of admin.listen. Empty: those of OpenSSL."),
    setting("tls.alpn", "h2,http/1.1", "Protocols that the TLS listener offers: `h2, http/1.1`, or only `http/1.1`."),
    setting(
        "tls.session_ticket_rotation",
        "8h",
        "How long a key encrypts session tickets, by which clients resume TLS sessions at any node; `off`: they do not.",
    ),
    setting(
        "admin.listen",
        "127.0.0.1:8001",
        "Address of the Admin API. One that is not loopback needs admin.auth or admin.tls.client_ca.",
    ),
    setting(
        "admin.auth",
        "off",
        "Authentication at the Admin API: `off`, or `tokens`, which `tollgate admin-token` makes.",
    ),
    setting("admin.tls.certificate", "", "PEM file with the certificate chain of the Admin API; empty: plain HTTP."),
    setting("admin.tls.key", "", "PEM file with the private key of `admin.tls.certificate`."),
    setting("admin.tls.key_passphrase_file", "", "File with the passphrase of `admin.tls.key`, if that is encrypted."),
    setting(
        "admin.tls.client_ca",
        "",
        "PEM file with the authorities whose client certificates the Admin API requires; empty: none is required.",
    ),
    setting("admin.ui", "off", "The console, a web page for people, at /ui of admin.listen: `on` or `off`."),
    setting(
        "admin.allowed_origins",
        "",
        "Origins of web pages that may use the Admin API, such as https://ui.example.com; `*`: all, with admin.auth.",
    ),
    setting(
        "admin.allowed_hosts",
        "",
        "Names by which the Admin API and the status listener may be addressed on loopback, besides localhost and addresses.",
    ),
    setting(
        "status.listen",
        "127.0.0.1:8007",
        "Address of liveness (/status), readiness (/status/ready) and metrics (/metrics).",
    ),
    setting(
        "declarative_config",
        "",
        "File with the configuration (YAML or JSON), where `database.mode` is `off`; empty: what `POST /config` was sent last.",
    ),
    setting(
        "declarative_config_watch",
        "true",
        "Whether that file is read again when it has changed; SIGHUP has it read again in any case.",
    ),
    setting(
        "database.mode",
        "on",
        "`on`: the configuration is in the database. `off`: it comes from `declarative_config`; the database keeps what is issued.",
    ),
    setting(
        "database.url",
        "",
        "`sqlite:PATH`, or `postgres://user:password@host:port/database`; empty: SQLite, `tollgate.db` in the data directory (`declarative.db` where `database.mode` is `off`).",
    ),
    setting(
        "database.replicas",
        "",
        "`postgres://…` of streaming replicas, which look-ups of tokens read if they show every change applied on this node.",
    ),
    setting("database.max_connections", "8", "Maximum number of connections to PostgreSQL."),
    setting("database.acquire_timeout", "2s", "How long a request may wait for a free connection."),
    setting("database.statement_timeout", "5s", "How long one statement may run."),
    setting(
        "database.startup_wait",
        "off",
        "How long to keep trying at start while PostgreSQL cannot be reached; `off`: the first failure ends the start.",
    ),
    setting(
        "outage.ready",
        "true",
        "Whether a node stays ready (/status/ready is 200, `degraded`) while the database is away; false: 503.",
    ),
    setting(
        "limits.connections",
        "0",
        "Maximum number of open client connections; 0: as many as there are file descriptors for.",
    ),
    setting(
        "limits.connections_per_address",
        "8192",
        "Maximum number of open connections of one client address (a /64 network of IPv6), except those in trusted_ips; 0: no limit.",
    ),
    setting(
        "limits.operator_connections",
        "512",
        "Maximum number of open connections to the Admin API, and as many to the status listener; 0: no limit.",
    ),
    setting(
        "limits.operator_connections_per_address",
        "256",
        "Of these, maximum number of one client address (a /64 network of IPv6); 0: no limit.",
    ),
    setting(
        "limits.tls_handshake_timeout",
        "15s",
        "How long a TLS handshake may take, with a PROXY header before it, or such a header alone.",
    ),
    setting("limits.target_bytes", "8192", "Maximum length of a request target (414)."),
    setting("limits.head_bytes", "32768", "Maximum length of a request head (431)."),
    setting("limits.header_count", "256", "Maximum number of fields of a request head (431)."),
    setting(
        "limits.body_min_rate",
        "128",
        "Minimum pace of a request body, in bytes per second of waiting for it (408); 0: none.",
    ),
    setting("limits.body_grace", "30s", "Time that a body has in addition to its minimum pace."),
    setting("limits.http2_streams", "100", "Maximum number of concurrent streams of an HTTP/2 connection."),
    setting(
        "limits.http2_excess_frames",
        "1000",
        "Frames without content (PING, SETTINGS, RST_STREAM …) that an HTTP/2 client may send within ten seconds in excess of what its requests and bodies need, before the connection is closed; 0: no limit.",
    ),
    setting(
        "limits.request_buffer_bytes",
        "65536",
        "Length of a request body up to which `request_buffering` reads it before the upstream is asked; longer ones are passed on as they arrive.",
    ),
    setting(
        "limits.response_buffer_bytes",
        "65536",
        "How much of a response `response_buffering` reads from the upstream ahead of the client.",
    ),
    setting(
        "limits.header_value_bytes",
        "4096",
        "Maximum length of what is sent upstream in one identity header: authenticated_userid, scope, usernames, custom ids, client ids; also of `state`.",
    ),
    setting("trusted_ips", "", "Addresses (CIDR) of proxies whose X-Forwarded-* and X-Real-IP headers are trusted."),
    setting(
        "dns.nameservers",
        "",
        "Name servers (addresses, with or without a port) for upstreams and plugins' calls; empty: those in /etc/resolv.conf.",
    ),
    setting(
        "dns.order",
        "SRV,A,AAAA",
        "Records that are looked up for a host, in this order; those of the first kind that it has are used.",
    ),
    setting("dns.stale_for", "1h", "How long addresses are used after their time to live while the name servers fail."),
    setting(
        "outbound.allowed_addresses",
        "",
        "Addresses (CIDR) that plugins may call although they are link-local, a cloud's metadata service, or a listener of this gateway.",
    ),
    setting("access_log", "-", "Access log: `-`: standard output; `off`: none; otherwise a file to append to."),
    setting(
        "access_log_fields",
        "all",
        "Fields of the access log: `all`; a list of those to write; or of those to leave out, as `-client`.",
    ),
    setting(
        "audit_log",
        "-",
        "Audit log of Admin writes and token events, as JSON lines: `-`: standard output; `off`: none; otherwise a file to append to.",
    ),
    setting(
        "tracing.endpoint",
        "off",
        "URL of a collector of traces, for OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; `off`: no traces.",
    ),
    setting(
        "tracing.headers_file",
        "",
        "File with headers that are sent to the collector, one `Name: value` a line; empty: none.",
    ),
    setting(
        "tracing.ca_file",
        "",
        "PEM file with the authorities that vouch for the collector's certificate; empty: the system's.",
    ),
    setting(
        "tracing.sample_ratio",
        "0.01",
        "Share of the traces that begin at this gateway which are recorded, from 0 to 1.",
    ),
    setting(
        "tracing.follow_parent",
        "true",
        "Whether the sender of a `traceparent` header decides whether a trace is recorded; false: the ratio decides.",
    ),
    setting("tracing.timeout", "10s", "How long a call of the collector may take."),
    setting("tracing.queue_size", "8192", "Maximum number of spans that wait to be sent; further ones are dropped."),
    setting("tracing.service_name", "tollgate", "Name of this gateway in traces."),
    setting(
        "core_dumps",
        "false",
        "Whether the system may dump the process's memory, which holds secrets, and debuggers may attach to it.",
    ),
    setting("log.level", "info", "Minimum level that is logged: error, warn, info, debug or trace."),
    setting("log.format", "human", "`human` or `json`, for both the log and the access log."),
];
