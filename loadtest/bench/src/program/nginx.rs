//! nginx in three roles: the upstream of every row, the baseline in C, and a common way to check tokens.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tollgate_quickstart::certificate::KeptCertificate;
use tollgate_tests::process::Process;

use super::{Listening, Proxy, free_addresses};
use crate::error::{Error, Result};

/// The upstream's response body: 100 bytes.
pub const BODY: &str =
    "One hundred bytes of a fixed body, which is what the upstream of every measurement returns. ---- ok.";

/// More requests than any run sends, so that no connection is closed for its number of requests.
const REQUESTS: u64 = 1_000_000_000;

/// The upstream.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// Stops it on drop.
    pub process: Process,
}

impl Upstream {
    /// Responds to every path with [`BODY`], to `/echo` with the identity headers, and to `/introspect-…` as an
    /// introspection endpoint for `auth_request` that accepts all tokens that start with `Bearer`.
    pub async fn start(folder: &Path) -> Result<Self> {
        let [address] = free_addresses()?;
        let conf = format!(
            r#"
server {{
    listen {address};
    location / {{ return 200 "{BODY}"; }}
    location = /echo {{
        return 200 " username=$http_x_consumer_username client=$http_x_credential_identifier userid=$http_x_authenticated_userid scope=$http_x_authenticated_scope sub=$http_x_credential_sub email=$http_x_credential_email azp=$http_x_credential_client_id id=$http_x_consumer_id ";
    }}
{OWN}{THIRD_PARTY}}}
"#,
            OWN = introspection("own", &OWN),
            THIRD_PARTY = introspection("third-party", &THIRD_PARTY),
        );
        let process = start(folder, "upstream", address, &conf).await?;
        Ok(Self { address, process })
    }
}

/// `proxy_pass` with keep-alive, plain and over TLS.
pub async fn proxy(folder: &Path, upstream: SocketAddr, certificate: &KeptCertificate) -> Result<Proxy> {
    let [http, https] = free_addresses()?;
    let conf = format!(
        "{}\nserver {{\n    {}\n    location / {{ {} }}\n}}\n",
        pool(upstream),
        listen(http, https, certificate),
        FORWARD
    );
    let process = start(folder, "nginx", http, &conf).await?;
    Ok(Proxy { process: process.id(), http: Some(http), https: Some(https), guard: Some(process) })
}

/// The identity headers of a token, as an endpoint for `auth_request` returns them.
type Headers = [(&'static str, &'static str)];

/// Those of a token that the gateway issued.
const OWN: [(&str, &str); 5] = [
    ("X-Consumer-Id", "5c8d2a4e-6f1b-4a7e-9d23-0a1b2c3d4e5f"),
    ("X-Consumer-Username", "person-0"),
    ("X-Credential-Identifier", "client-0"),
    ("X-Authenticated-Userid", "user-00000000"),
    ("X-Authenticated-Scope", "email profile"),
];

/// Those of a token of a third party: what Tollgate makes of the stub authority's responses.
const THIRD_PARTY: [(&str, &str); 15] = [
    ("X-Consumer-Id", "5c8d2a4e-6f1b-4a7e-9d23-0a1b2c3d4e5f"),
    ("X-Consumer-Username", "person-0"),
    ("X-Credential-Identifier", "person-0"),
    ("X-Credential-Scope", "email profile"),
    ("X-Credential-Client-Id", "client-000000"),
    ("X-Credential-Token-Type", "Bearer"),
    ("X-Credential-Exp", "1796515200"),
    ("X-Credential-Iat", "1795910400"),
    ("X-Credential-Sub", "user-00000000"),
    ("X-Credential-Iss", "http://127.0.0.1:40000"),
    ("X-Credential-Email", "user-00000000@example.com"),
    ("X-Credential-Tenant", "tenant-000"),
    ("X-Credential-Department", "engineering"),
    ("X-Credential-Plan", "enterprise"),
    ("X-Credential-Roles", "reader,writer"),
];

/// The endpoint `/introspect-NAME`.
fn introspection(name: &str, headers: &Headers) -> String {
    let lines: String =
        headers.iter().map(|(header, value)| format!("        add_header {header} \"{value}\";\n")).collect();
    format!(
        "    location = /introspect-{name} {{\n        if ($http_authorization !~ \"^Bearer [0-9A-Za-z]+$\") {{ return \
         401; }}\n{lines}        return 200 \"\";\n    }}\n"
    )
}

/// `auth_request` to an introspection endpoint whose responses are cached by the `Authorization` header, with
/// the five identity headers from it.
pub async fn token_cache(folder: &Path, upstream: SocketAddr, certificate: &KeptCertificate) -> Result<Proxy> {
    cached_auth_request(folder, "own", &OWN, upstream, certificate).await
}

/// The same with the headers of a token of a third party.
pub async fn introspected(folder: &Path, upstream: SocketAddr, certificate: &KeptCertificate) -> Result<Proxy> {
    cached_auth_request(folder, "third-party", &THIRD_PARTY, upstream, certificate).await
}

async fn cached_auth_request(
    folder: &Path,
    endpoint: &str,
    headers: &Headers,
    upstream: SocketAddr,
    certificate: &KeptCertificate,
) -> Result<Proxy> {
    let [http, https] = free_addresses()?;
    let name = format!("nginx-token-cache-{endpoint}");
    let cache = folder.join(&name);
    let identity: String = headers
        .iter()
        .map(|(header, _)| {
            let variable = header.to_ascii_lowercase().replace('-', "_");
            format!(
                "        auth_request_set $i_{variable} $upstream_http_{variable};\n        \
                 proxy_set_header {header} $i_{variable};\n"
            )
        })
        .collect();
    let conf = format!(
        r#"
proxy_cache_path {cache} levels=1:2 keys_zone=tokens:256m max_size=4g inactive=24h use_temp_path=off;
{pool}
server {{
    {listen}
    location / {{
        auth_request /introspect;
{identity}        {FORWARD}
    }}
    location = /introspect {{
        internal;
        proxy_pass http://upstream/introspect-{endpoint};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_cache tokens;
        proxy_cache_key $http_authorization;
        proxy_cache_valid 200 24h;
        proxy_cache_lock on;
    }}
}}
"#,
        cache = cache.display(),
        pool = pool(upstream),
        listen = listen(http, https, certificate),
    );
    let process = start(folder, &name, http, &conf).await?;
    Ok(Proxy { process: process.id(), http: Some(http), https: Some(https), guard: Some(process) })
}

const FORWARD: &str = r#"proxy_pass http://upstream; proxy_http_version 1.1; proxy_set_header Connection "";"#;

fn pool(upstream: SocketAddr) -> String {
    format!(
        "upstream upstream {{ server {upstream}; keepalive 64; keepalive_requests {REQUESTS}; keepalive_timeout 1h; }}"
    )
}

fn listen(http: SocketAddr, https: SocketAddr, certificate: &KeptCertificate) -> String {
    format!(
        "listen {http}; listen {https} ssl http2; ssl_certificate {}; ssl_certificate_key {};",
        certificate.certificate_file.display(),
        certificate.key_file.display()
    )
}

/// One worker, no access log, keep-alive connections.
async fn start(folder: &Path, name: &str, address: SocketAddr, servers: &str) -> Result<Process> {
    let home = folder.join(name);
    let made = |path: &PathBuf| fs::create_dir_all(path).map_err(Error::system("cannot create a folder for nginx"));
    made(&home)?;
    let conf = format!(
        r#"
daemon off;
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log warn;
{user}
events {{ worker_connections 16384; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_timeout 1h;
    keepalive_requests {REQUESTS};
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {servers}
}}
"#,
        home = home.display(),
        // The folder of a run is private to its user, so the worker must run as that user.
        user = if crate::account::is_root() { "user root;" } else { "" },
    );
    let file = home.join("nginx.conf");
    fs::write(&file, conf).map_err(Error::system("cannot write a configuration for nginx"))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&home).arg("-c").arg(&file);
    Listening { name, command, address, log: &home.join("output") }.start().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_100_bytes() {
        assert_eq!(BODY.len(), 100);
    }
}
