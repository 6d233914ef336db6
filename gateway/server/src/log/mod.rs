//! The log: standard output, as text or JSON. The access log is separate (see
//! [`crate::telemetry`]).

mod json;

use tracing::Level;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::settings::LogFormat;

/// Changes the level of a running log.
#[derive(Clone)]
pub struct Handle(reload::Handle<EnvFilter, Registry>);

impl Handle {
    /// Sets the minimum severity from now on.
    pub fn set_level(&self, level: Level) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::warn!(%error, "cannot change the log level");
        }
    }
}

/// Starts logging for this process.
pub fn init(level: Level, format: LogFormat) -> Handle {
    let (filter, handle) = reload::Layer::new(filter(level));
    let output = fmt::layer().with_writer(std::io::stdout).with_ansi(false);
    let output = match format {
        LogFormat::Human => output.boxed(),
        LogFormat::Json => output.event_format(json::JsonLines).boxed(),
    };
    // Fails only on a second call in the process, and the first logger stays in use.
    let _already_started = tracing_subscriber::registry().with(filter).with(output).try_init();
    Handle(handle)
}

/// The framework logs every broken client connection at `error`; what matters is counted
/// and logged once by the gateway itself.
fn filter(level: Level) -> EnvFilter {
    let framework = if level == Level::ERROR { "error" } else { "warn" };
    EnvFilter::new(format!(
        "{level},pingora_core={framework},pingora_proxy={framework},h2={framework},hyper={framework},rustls={framework}"
    ))
}
