//! The settings of traces.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use tollgate_core::setting::duration;

use super::Layers;
use super::read::{bounded, optional_path};
use crate::telemetry::traces::{Ratio, Rules};

/// The settings of traces, where they are on.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// The collector's URL.
    pub endpoint: Uri,
    /// The file with headers that are sent to it.
    pub headers_file: Option<PathBuf>,
    /// The file with the authorities that vouch for it.
    pub authorities: Option<PathBuf>,
    /// The timeout of a call.
    pub timeout: Duration,
    /// The name of this gateway in traces.
    pub service_name: String,
    /// What is traced.
    pub rules: Rules,
}

pub(super) fn read(layers: &mut Layers) -> Option<Option<Tracing>> {
    let endpoint = layers.read("tracing.endpoint", endpoint);
    let headers_file = layers.read("tracing.headers_file", |text| Ok(optional_path(text)));
    let authorities = layers.read("tracing.ca_file", |text| Ok(optional_path(text)));
    let ratio = layers.read("tracing.sample_ratio", str::parse::<Ratio>);
    let follows_parent = layers.read("tracing.follow_parent", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    });
    let timeout = layers.read("tracing.timeout", |text| match duration(text)? {
        Duration::ZERO => Err("must be above 0".to_owned()),
        some => Ok(some),
    });
    let queue = layers.read("tracing.queue_size", |text| bounded(text, 1, 1_000_000));
    let service_name = layers.read("tracing.service_name", |text| match text {
        "" => Err("expected a name".to_owned()),
        name => Ok(name.to_owned()),
    });
    let rules = Rules { ratio: ratio?, follows_parent: follows_parent?, queue: queue? };
    let (headers_file, authorities, timeout) = (headers_file?, authorities?, timeout?);
    let service_name = service_name?;
    Some(endpoint?.map(|endpoint| Tracing { endpoint, headers_file, authorities, timeout, service_name, rules }))
}

fn endpoint(text: &str) -> Result<Option<Uri>, String> {
    let expected = || {
        "expected off, or the URL of a collector for OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces".to_owned()
    };
    if ["", "off", "false"].contains(&text) {
        return Ok(None);
    }
    let url: Uri = text.parse().map_err(|_| expected())?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let has_credentials = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    // Settings are shown: a secret among them would be, too.
    if has_credentials || url.query().is_some() {
        return Err("must not contain credentials or a query: put secrets into tracing.headers_file".to_owned());
    }
    if is_http && url.host().is_some_and(|host| !host.is_empty()) { Ok(Some(url)) } else { Err(expected()) }
}
