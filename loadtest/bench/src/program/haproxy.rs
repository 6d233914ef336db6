//! HAProxy as a plain proxy, and as one that checks JWTs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Listening, Proxy, free_addresses};
use crate::error::{Error, Result};

/// Without any rule.
pub async fn haproxy(folder: &Path, upstream: SocketAddr) -> Result<Proxy> {
    start(folder, "haproxy", "", upstream).await
}

/// Checks each token: algorithm, signature (with a key that it reads at its start), issuer and expiry. It has no
/// cache of tokens. It forwards no claims: each would be another query of the token.
pub async fn jwt(folder: &Path, upstream: SocketAddr, public_key: &str, issuer: &str) -> Result<Proxy> {
    let key = folder.join("haproxy-jwt.pem");
    fs::write(&key, public_key).map_err(Error::system("cannot write a key for HAProxy"))?;
    let rules = format!(
        "    http-request set-var(txn.token) http_auth_bearer\n    \
         http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')\n    \
         http-request set-var(txn.iss) var(txn.token),jwt_payload_query('$.iss')\n    \
         http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')\n    \
         http-request set-var(txn.now) date()\n    \
         http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}\n    \
         http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify(txn.alg,\"{key}\") -m int 1 }}\n    \
         http-request deny deny_status 401 unless {{ var(txn.iss) -m str {issuer} }}\n    \
         http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}\n",
        key = key.display(),
    );
    start(folder, "haproxy-jwt", &rules, upstream).await
}

/// One thread, no log, connections to the upstream shared by all clients.
async fn start(folder: &Path, name: &str, rules: &str, upstream: SocketAddr) -> Result<Proxy> {
    let [http] = free_addresses()?;
    let file = folder.join(name).with_extension("cfg");
    let conf = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n    \
         option http-keep-alive\n    http-reuse always\n\
         frontend clients\n    bind {http}\n{rules}    default_backend upstream\n\
         backend upstream\n    server upstream {upstream}\n"
    );
    fs::write(&file, conf).map_err(Error::system("cannot write a configuration for HAProxy"))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let log = folder.join(name).with_extension("log");
    let process = Listening { name, command, address: http, log: &log }.start().await?;
    Ok(Proxy { process: process.id(), http: Some(http), https: None, guard: Some(process) })
}
