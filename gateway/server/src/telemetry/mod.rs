//! What the gateway reports: metrics, the access log and the audit log.
//!
//! Metrics and the access log are updated once per request, after the response. Nothing here may delay a request:
//! metric handles are resolved beforehand, and a log line that finds its buffer full is dropped and counted.

pub mod access_log;
pub mod audit_log;
pub mod certificate_expiry;
mod consumer_counters;
pub mod limit_metrics;
mod line_writer;
pub mod metrics;

mod route_counters;
pub mod route_metrics;
pub mod target_health;
pub mod tasks;
pub(crate) mod trace_context;
pub mod traces;
