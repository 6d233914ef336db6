//! The log: standard output, for people or as JSON. The access log is not written here (see
//! [`crate::telemetry`]).

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// Starts logging for this process; a second call changes nothing.
pub fn init(level: tracing::Level, format: LogFormat) {
    // The framework logs every refused connection at `error`; what matters of it is counted and
    // logged once by the gateway itself.
    let filter = EnvFilter::new(format!("{level},pingora_core=warn,pingora_proxy=warn,h2=warn,hyper=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stdout);
    let _already_started = match format {
        LogFormat::Human => builder.with_ansi(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
}
