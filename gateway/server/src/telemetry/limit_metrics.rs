//! How often each limit was reached.
//!
//! Some limits are kept by Pingora or by core, which count for themselves: their totals are read on export.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `limits.connections`
    Connections,
    /// `limits.connections_per_address`
    ConnectionsPerAddress,
    /// `limits.operator_connections`
    OperatorConnections,
    /// `limits.operator_connections_per_address`
    OperatorConnectionsPerAddress,
    /// `limits.tls_handshake_timeout`
    TlsHandshake,
    /// No valid PROXY header from a trusted peer.
    ProxyProtocol,
    /// `proxy.head_timeout`, over HTTP/2: the preface.
    Http2Preface,
    /// `proxy.head_timeout`, over HTTP/2: a header block.
    Http2Head,
    /// `limits.http2_excess_frames`
    Http2Frames,
    /// `proxy.head_timeout` over HTTP/1.1, also of the operator's listeners, and `proxy.read_timeout`.
    ClientTimeout,
    /// `proxy.write_timeout`
    WriteTimeout,
    /// `limits.target_bytes`
    Target,
    /// `limits.head_bytes`
    Head,
    /// `limits.header_count`
    HeaderCount,
    /// `limits.body_min_rate`
    BodyRate,
    /// `limits.header_value_bytes`
    HeaderValue,
}

impl Limit {
    const ALL: [Self; 16] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::OperatorConnections,
        Self::OperatorConnectionsPerAddress,
        Self::TlsHandshake,
        Self::ProxyProtocol,
        Self::Http2Preface,
        Self::Http2Head,
        Self::Http2Frames,
        Self::ClientTimeout,
        Self::WriteTimeout,
        Self::Target,
        Self::Head,
        Self::HeaderCount,
        Self::BodyRate,
        Self::HeaderValue,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::OperatorConnections => "operator_connections",
            Self::OperatorConnectionsPerAddress => "operator_connections_per_address",
            Self::TlsHandshake => "tls_handshake",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Http2Preface => "http2_preface",
            Self::Http2Head => "http2_head",
            Self::Http2Frames => "http2_frames",
            Self::ClientTimeout => "client_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Target => "target",
            Self::Head => "head",
            Self::HeaderCount => "header_count",
            Self::BodyRate => "body_rate",
            Self::HeaderValue => "header_value",
        }
    }

    /// The limit that a response with this reason reports.
    pub(crate) fn of_reason(reason: &str) -> Option<Self> {
        match reason {
            "target_too_long" => Some(Self::Target),
            "head_too_long" => Some(Self::Head),
            "too_many_fields" => Some(Self::HeaderCount),
            "client_too_slow" => Some(Self::BodyRate),
            "client_timeout" => Some(Self::ClientTimeout),
            _ => None,
        }
    }
}

/// Reads a total that is counted elsewhere.
type Total = Box<dyn Fn() -> u64 + Send + Sync>;

struct Source {
    limit: Limit,
    total: Total,
    seen: u64,
}

/// The counters. Cheap to clone.
#[derive(Clone)]
pub struct LimitMetrics {
    counters: IntCounterVec,
    sources: Arc<Mutex<Vec<Source>>>,
}

impl LimitMetrics {
    /// All at 0, so that every limit has a series.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let about = "How often a limit was reached, and a request or connection refused or ended.";
        let counters = IntCounterVec::new(Opts::new("tollgate_limit_reached_total", about), &["limit"])?;
        for limit in Limit::ALL {
            counters.with_label_values(&[limit.label()]);
        }
        Ok(Self { counters, sources: Arc::default() })
    }

    /// Counts one.
    pub(crate) fn count(&self, limit: Limit) {
        self.counters.with_label_values(&[limit.label()]).inc();
    }

    /// Counts what a response with this reason reports.
    pub(crate) fn count_reason(&self, reason: &str) {
        if let Some(limit) = Limit::of_reason(reason) {
            self.count(limit);
        }
    }

    /// Adds a total that is counted elsewhere.
    pub fn add_source(&self, limit: Limit, total: impl Fn() -> u64 + Send + Sync + 'static) {
        let source = Source { limit, total: Box::new(total), seen: 0 };
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }
}

impl fmt::Debug for LimitMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitMetrics").finish_non_exhaustive()
    }
}

impl Collector for LimitMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.counters.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for source in self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let total = (source.total)();
            let counter = self.counters.with_label_values(&[source.limit.label()]);
            counter.inc_by(total.saturating_sub(source.seen));
            source.seen = total;
        }
        self.counters.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[test]
    fn every_limit_has_a_series_and_totals_from_elsewhere_are_added_once() {
        let (registry, metrics) = (Registry::new(), LimitMetrics::new().unwrap());
        registry.register(Box::new(metrics.clone())).unwrap();
        let elsewhere = Arc::new(AtomicU64::new(2));
        let total = Arc::clone(&elsewhere);
        metrics.add_source(Limit::Http2Frames, move || total.load(Ordering::Relaxed));
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert_eq!(text().matches("\ntollgate_limit_reached_total{").count(), Limit::ALL.len());
        metrics.count_reason("head_too_long");
        metrics.count_reason("no_route");
        elsewhere.store(3, Ordering::Relaxed);
        for line in [r#"{limit="http2_frames"} 3"#, r#"{limit="head"} 1"#, r#"{limit="target"} 0"#] {
            assert!(text().contains(line), "{line} is missing in {}", text());
        }
    }
}
