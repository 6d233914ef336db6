//! `tollgate_settings_*`: whether the newest settings are in force.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

const APPLIED: &str = "applied";
const REFUSED: &str = "refused";

/// The metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    valid: IntGauge,
    need_restart: IntGauge,
    reloads: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let valid = "0 if the settings that were read last were refused, so that those before are in force; else 1.";
        let valid = IntGauge::new("tollgate_settings_valid", valid)?;
        let need_restart = "Settings that were read again and need a restart to be in force.";
        let need_restart = IntGauge::new("tollgate_settings_need_restart", need_restart)?;
        let reloads = Opts::new("tollgate_settings_reloads_total", "How often settings were read again, by result.");
        let reloads = IntCounterVec::new(reloads, &["result"])?;
        for result in [APPLIED, REFUSED] {
            reloads.with_label_values(&[result]);
        }
        valid.set(1);
        registry.register(Box::new(valid.clone()))?;
        registry.register(Box::new(need_restart.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        Ok(Self { valid, need_restart, reloads })
    }

    /// They are in force; so many need a restart.
    pub fn applied(&self, need_restart: usize) {
        self.reloads.with_label_values(&[APPLIED]).inc();
        self.valid.set(1);
        self.need_restart.set(i64::try_from(need_restart).unwrap_or(i64::MAX));
    }

    /// They were refused: what needs a restart is as before.
    pub fn refused(&self) {
        self.reloads.with_label_values(&[REFUSED]).inc();
        self.valid.set(0);
    }
}
