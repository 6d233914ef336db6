//! HAProxy as a plain proxy.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Listening, Proxy, free_addresses};
use crate::error::{Error, Result};

/// One thread, no log, connections to the upstream shared by all clients.
pub async fn haproxy(folder: &Path, upstream: SocketAddr) -> Result<Proxy> {
    let [http] = free_addresses()?;
    let file = folder.join("haproxy.cfg");
    let conf = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n    \
         option http-keep-alive\n    http-reuse always\n\
         frontend clients\n    bind {http}\n    default_backend upstream\n\
         backend upstream\n    server upstream {upstream}\n"
    );
    fs::write(&file, conf).map_err(Error::system("cannot write a configuration for HAProxy"))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let log = folder.join("haproxy.log");
    let process = Listening { name: "haproxy", command, address: http, log: &log }.start().await?;
    Ok(Proxy { process: process.id(), http: Some(http), https: None, guard: Some(process) })
}
