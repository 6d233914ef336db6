//! `tollgate_declarative_config_*`: whether the newest configuration is in force.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// What became of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// It is in force.
    Applied,
    /// It is not; the one before is.
    Refused,
}

/// The metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    valid: IntGauge,
    loads: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let valid =
            "0 if the file that was read last was refused, so that the configuration before it is in force; else 1.";
        let valid = IntGauge::new("tollgate_declarative_config_valid", valid)?;
        let loads = Opts::new("tollgate_declarative_config_loads_total", "Configurations that were loaded, by result.");
        let loads = IntCounterVec::new(loads, &["result"])?;
        for result in ["applied", "refused"] {
            loads.with_label_values(&[result]);
        }
        valid.set(1);
        registry.register(Box::new(valid.clone()))?;
        registry.register(Box::new(loads.clone()))?;
        Ok(Self { valid, loads })
    }

    /// Counts a configuration.
    pub fn count(&self, result: Result) {
        let label = match result {
            Result::Applied => "applied",
            Result::Refused => "refused",
        };
        self.loads.with_label_values(&[label]).inc();
        if result == Result::Applied {
            self.valid.set(1);
        }
    }

    /// A file was refused that is to be in force; whoever posts a configuration hears of it.
    pub fn file_refused(&self) {
        self.count(Result::Refused);
        self.valid.set(0);
    }
}
