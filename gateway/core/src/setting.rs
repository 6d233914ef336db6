//! Settings of the node: their description, and the notation of common values.
//!
//! The configuration file, the environment, the `--set` flag, `conf/tollgate.yaml` and `tollgate settings`
//! share one list: the gateway's own settings and those of plugins.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its path in the file, such as `proxy.http_listen`.
    pub path: &'static str,
    /// Its default; empty means "not set".
    pub default: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Checks a value that the code reading it does not check.
    pub check: fn(&str) -> Result<(), String>,
}

impl Setting {
    /// A setting that is checked by the code reading it.
    pub const fn new(path: &'static str, default: &'static str, about: &'static str) -> Self {
        Self { path, default, about, check: |_| Ok(()) }
    }

    /// Adds a check, so that a wrong value is reported with its position in the file.
    #[must_use]
    pub const fn checked(self, check: fn(&str) -> Result<(), String>) -> Self {
        Self { check, ..self }
    }

    /// The environment variable of this setting: `TOLLGATE_` and its path in capitals.
    pub fn environment_name(&self) -> String {
        format!("TOLLGATE_{}", self.path.replace('.', "_").to_uppercase())
    }
}

/// A setting is missing or invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct SettingError {
    /// The setting.
    pub path: &'static str,
    /// What is wrong with it, and what is expected.
    pub what: String,
}

/// The values of settings, as text. They may be secrets: `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SettingValues(BTreeMap<&'static str, String>);

impl fmt::Debug for SettingValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl SettingValues {
    /// The defaults.
    pub fn defaults<'s>(settings: impl IntoIterator<Item = &'s Setting>) -> Self {
        settings.into_iter().map(|setting| (setting.path, setting.default.to_owned())).collect()
    }

    /// Reads a value.
    ///
    /// # Errors
    /// The setting does not exist, or `parse` refused its value.
    pub fn read<T>(
        &self,
        path: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, SettingError> {
        let text = self.0.get(path).ok_or_else(|| SettingError { path, what: "no such setting".to_owned() })?;
        parse(text).map_err(|what| SettingError { path, what })
    }
}

impl FromIterator<(&'static str, String)> for SettingValues {
    fn from_iter<I: IntoIterator<Item = (&'static str, String)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// A whole number.
///
/// # Errors
/// The text is not a whole number.
pub fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

/// `1500ms`, `60s`, `5m`, `1h`; at least a millisecond and at most a year.
///
/// # Errors
/// The text is not such a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (amount, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = factor.zip(amount.parse::<u64>().ok()).and_then(|(factor, amount)| amount.checked_mul(factor));
    match millis {
        Some(millis @ 1..=31_536_000_000) => Ok(Duration::from_millis(millis)),
        Some(0) => Err("must be above 0, such as 500ms, 60s, 5m or 1h".to_owned()),
        Some(_) => Err("must be at most a year (8760h)".to_owned()),
        _ => Err("expected a duration, such as 500ms, 60s, 5m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [("500ms", 500), ("60s", 60_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        for bad in ["", "5", "s", "-1s", "1.5s", "0s", "99999999999999999999h", "1d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("0s"), Err("must be above 0, such as 500ms, 60s, 5m or 1h".to_owned()));
        assert_eq!(duration("9000h"), Err("must be at most a year (8760h)".to_owned()));
    }

    #[test]
    fn an_unreadable_value_is_reported_with_its_setting() {
        let values = SettingValues::defaults(&[Setting::new("a.b", "7", "")]);
        assert_eq!(values.read("a.b", number), Ok(7));
        let wrong = values.read("a.b", duration).unwrap_err();
        assert_eq!(wrong.to_string(), "a.b: expected a duration, such as 500ms, 60s, 5m or 1h");
        assert_eq!(values.read("a.c", number).unwrap_err().to_string(), "a.c: no such setting");
    }
}
