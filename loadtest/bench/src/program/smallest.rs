//! The smallest possible Pingora proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Listening, Proxy, free_addresses};
use crate::error::Result;

/// `program` is a release build of `smallest-pingora`.
pub async fn smallest(folder: &Path, program: &Path, upstream: SocketAddr) -> Result<Proxy> {
    let [http] = free_addresses()?;
    let mut command = Command::new(program);
    command.arg(http.to_string()).arg(upstream.to_string());
    let log = folder.join(program.file_name().unwrap_or_default()).with_extension("log");
    let process = Listening { name: "smallest-pingora", command, address: http, log: &log }.start().await?;
    Ok(Proxy { process: process.id(), http: Some(http), https: None, guard: Some(process) })
}
