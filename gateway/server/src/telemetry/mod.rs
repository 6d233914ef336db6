//! What the data plane reports: metrics and the access log.
//!
//! Both are updated once per request, after the response. Neither may delay a request: metric handles
//! are resolved beforehand, and a log line that finds its buffer full is dropped and counted.

pub mod access_log;
pub mod limit_metrics;
pub mod metrics;

mod route_counters;
pub mod route_metrics;
