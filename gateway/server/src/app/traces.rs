//! Traces, from their settings: the collector's headers and authorities, and the task that sends spans.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::Handle;
use tollgate_plugin::http_client::{Client, Tls, TlsError};
use uuid::Uuid;

use crate::settings::{Settings, Tracing};
use crate::telemetry::traces::{Export, Resource, SpanMetrics, Tracer};

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{setting}: cannot read {path}")]
    Unreadable {
        /// The setting.
        setting: &'static str,
        /// Its value.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A line of the file with headers is none. Its text may be a secret.
    #[error("tracing.headers_file: line {line} of {path} is no header: expected Name: value")]
    Header {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The authorities cannot be used.
    #[error("tracing.ca_file: cannot use {path}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: TlsError,
    },
}

/// What is wrong with the files that the settings name.
pub(super) fn problems(settings: &Settings) -> Vec<String> {
    let Some(tracing) = &settings.tracing else { return Vec::new() };
    let with_cause = |error: &Error| {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    };
    let found = [headers(tracing).err(), tls(tracing).err()];
    found.iter().flatten().map(with_cause).collect()
}

/// `None`: traces are off.
pub(super) fn start(
    settings: &Settings,
    client: &Client,
    node: Uuid,
    metrics: SpanMetrics,
) -> Result<Option<Tracer>, Error> {
    let Some(tracing) = &settings.tracing else { return Ok(None) };
    let resource = Resource {
        service: tracing.service_name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: node.to_string(),
    };
    let export = Export { endpoint: tracing.endpoint.clone(), headers: headers(tracing)?, resource };
    let mut profile = client.profile("tracing").timeout(tracing.timeout);
    if let Some(tls) = tls(tracing)? {
        profile = profile.tls(tls);
    }
    Ok(Some(Tracer::start(&tracing.rules, export, profile, metrics, &Handle::current())))
}

fn headers(tracing: &Tracing) -> Result<HeaderMap, Error> {
    let Some(path) = &tracing.headers_file else { return Ok(HeaderMap::new()) };
    let text = String::from_utf8_lossy(&read("tracing.headers_file", path)?).into_owned();
    let mut headers = HeaderMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let header = header(line).ok_or_else(|| Error::Header { path: path.clone(), line: number + 1 })?;
        headers.append(header.0, header.1);
    }
    Ok(headers)
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value = HeaderValue::try_from(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::try_from(name.trim()).ok()?, value))
}

fn tls(tracing: &Tracing) -> Result<Option<Tls>, Error> {
    let Some(path) = &tracing.authorities else { return Ok(None) };
    let pem = read("tracing.ca_file", path)?;
    Tls::authorities(&pem).map(Some).map_err(|source| Error::Authorities { path: path.clone(), source })
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Unreadable { setting, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_header_that_debug_hides() {
        let (name, value) = header("Authorization: Bearer abc:def").unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("authorization", b"Bearer abc:def".as_slice()));
        assert!(!format!("{value:?}").contains("abc"));
        for bad in ["Authorization", "a b: c", "x: \u{1}"] {
            assert_eq!(header(bad), None, "{bad:?}");
        }
    }
}
