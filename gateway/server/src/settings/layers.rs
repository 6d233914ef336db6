//! Values of settings by source: flag over environment over file over default.

use std::collections::BTreeMap;
use std::fmt;

use serde_yaml::Value;
use tollgate_core::setting::{Setting, SettingValues};
use tollgate_declarative::Position;

use super::position;
use super::setting::SETTINGS;
use crate::cli::SettingsArgs;
use crate::plugins;

/// The source of a value, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The default.
    Default,
    /// The file, at this position.
    File(String, Option<Position>),
    /// An environment variable.
    Environment(String),
    /// `--set`.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name, Some(position)) => write!(f, "{name}:{position}"),
            Self::File(name, None) => f.write_str(name),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// A problem with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The source.
    pub source: Source,
    /// The setting, if there is one.
    pub path: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)
    }
}

/// The value of every setting, as text, with its source.
#[derive(Debug, Clone)]
pub struct Layers {
    values: BTreeMap<&'static str, (String, Source)>,
    /// Problems with the file's structure and the flags' names.
    pub problems: Vec<Problem>,
}

/// Reads the settings: `--set` over environment over file over default.
///
/// # Errors
/// The file cannot be read.
pub fn read_layers(arguments: &SettingsArgs) -> Result<Layers, String> {
    let mut layers = Layers::defaults();
    if let Some(path) = &arguments.config {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("{}: cannot read: {error}", path.display()))?;
        layers.file(&path.display().to_string(), &text);
    }
    layers.environment(
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    layers.flags(&arguments.set);
    Ok(layers)
}

impl Layers {
    /// The defaults.
    pub fn defaults() -> Self {
        let values = SETTINGS.iter().map(|s| (s.path, (s.default.to_owned(), Source::Default))).collect();
        Self { values, problems: Vec::new() }
    }

    /// Overrides values with those of a YAML file.
    pub fn file(&mut self, name: &str, text: &str) {
        match serde_yaml::from_str::<Value>(text) {
            Ok(Value::Null) => {}
            Ok(Value::Mapping(mapping)) => self.mapping(name, text, "", &mapping),
            Ok(_) => self.problem(
                Source::File(name.to_owned(), None),
                "",
                "expected a mapping of settings, such as `proxy:`",
            ),
            Err(error) => {
                let source = Source::File(name.to_owned(), position::of_error(&error));
                self.problem(source, "", &format!("invalid YAML: {error}"));
            }
        }
    }

    fn mapping(&mut self, name: &str, text: &str, above: &str, mapping: &serde_yaml::Mapping) {
        for (key, value) in mapping {
            let Some(key) = key.as_str() else {
                self.problem(Source::File(name.to_owned(), None), above, "keys must be strings");
                continue;
            };
            let path = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
            let source = Source::File(name.to_owned(), position::of_key(text, &path));
            let is_section = SETTINGS.iter().any(|setting| is_below(setting.path, &path));
            match (find(&path).or_else(|| mode(&path, value)), value) {
                (Some(setting), value) => match scalar(value) {
                    Some(text) => self.put(setting, text, source),
                    None => self.problem(source, &path, "expected a value or a list of values"),
                },
                (None, Value::Mapping(inner)) if is_section => self.mapping(name, text, &path, inner),
                (None, Value::Null) if is_section => {}
                (None, _) if is_section => self.problem(source, &path, "expected a mapping of settings"),
                (None, _) => self.problem(source, &path, &unknown(&path)),
            }
        }
    }

    /// Overrides values with environment variables. Unknown names that begin with `TOLLGATE_`
    /// are problems: a typing error must not change policy silently.
    pub fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut variables: Vec<_> = variables.filter(|(name, _)| name.starts_with("TOLLGATE_")).collect();
        variables.sort();
        for (name, value) in variables {
            let is_named = |setting: &&Setting| {
                let of_setting = setting.environment_name();
                of_setting == name || of_setting.strip_suffix("_MODE") == Some(name.as_str())
            };
            match SETTINGS.iter().find(is_named) {
                Some(setting) => self.put(setting, value, Source::Environment(name)),
                // Reserved for the tests' own variables and the `--config` flag.
                None if name.starts_with("TOLLGATE_TEST_") || name == "TOLLGATE_CONFIG" => {}
                None => self.problem(Source::Environment(name), "", "unknown setting; `tollgate settings` lists all"),
            }
        }
    }

    /// Overrides values with `path=value` flags.
    pub fn flags(&mut self, flags: &[String]) {
        for flag in flags {
            match flag.split_once('=') {
                Some((path, value)) => match find(path).or_else(|| find(&format!("{path}.mode"))) {
                    Some(setting) => self.put(setting, value.to_owned(), Source::Flag),
                    None => self.problem(Source::Flag, path, &unknown(path)),
                },
                None => self.problem(Source::Flag, flag, "expected PATH=VALUE"),
            }
        }
    }

    /// The settings whose values differ, in the order of the shipped file.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differs = |path: &&str| self.given(path).map(|(text, _)| text) != other.given(path).map(|(text, _)| text);
        SETTINGS.iter().map(|setting| setting.path).filter(differs).collect()
    }

    /// These values, but of some settings those of others.
    #[must_use]
    pub fn keeping(mut self, others: &Self, are_kept: impl Fn(&str) -> bool) -> Self {
        for (path, value) in others.values.iter().filter(|(path, _)| are_kept(path)) {
            self.values.insert(path, value.clone());
        }
        self
    }

    /// Reports a value that does not go with others.
    pub(super) fn add_problem(&mut self, path: &str, what: String) {
        let source = self.values.get(path).map_or(Source::Default, |(_, source)| source.clone());
        self.problems.push(Problem { source, path: path.to_owned(), what });
    }

    /// A value as given, and where it comes from.
    pub fn given(&self, path: &str) -> Option<(&str, &Source)> {
        self.values.get(path).map(|(text, source)| (text.as_str(), source))
    }

    fn put(&mut self, setting: &Setting, value: String, source: Source) {
        self.values.insert(setting.path, (value, source));
    }

    fn problem(&mut self, source: Source, path: &str, what: &str) {
        self.problems.push(Problem { source, path: path.to_owned(), what: what.to_owned() });
    }

    /// Reads a setting's value with `parse`; its error text is recorded as a problem.
    pub fn read<T>(&mut self, path: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (text, source) = self.values.get(path).cloned()?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problems.push(Problem { source, path: path.to_owned(), what });
                None
            }
        }
    }

    /// The values of plugins' settings; values that fail their setting's check are recorded as problems.
    pub fn read_plugins(&mut self) -> Option<SettingValues> {
        let checked = plugins::settings().map(|setting| {
            let value = self.read(setting.path, |text| (setting.check)(text).map(|()| text.to_owned()));
            value.map(|value| (setting.path, value))
        });
        // Every setting is checked before the first wrong one ends the reading.
        checked.collect::<Vec<_>>().into_iter().collect()
    }

    /// Whether the setting is given in any source.
    #[cfg(test)]
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.values.get(path).is_some_and(|(_, source)| *source != Source::Default)
    }
}

/// The mode of a section, which a scalar in its place sets: `database: off` is `database.mode: off`.
fn mode(section: &str, value: &Value) -> Option<&'static Setting> {
    let is_scalar = matches!(value, Value::Bool(_) | Value::String(_));
    is_scalar.then(|| find(&format!("{section}.mode"))).flatten()
}

fn find(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

/// Whether a setting is in this section, or in one below it.
fn is_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn unknown(path: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    let alike = SETTINGS.iter().find(|setting| setting.path.rsplit('.').next() == Some(last));
    match alike {
        Some(setting) => format!("unknown setting; did you mean {}?", setting.path),
        None => "unknown setting; `tollgate settings` lists all".to_owned(),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        // YAML 1.1 parsers read `off` as a boolean; here it is a value of several settings.
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Sequence(items) => Some(items.iter().map(scalar).collect::<Option<Vec<_>>>()?.join(",")),
        Value::Mapping(_) | Value::Tagged(_) => None,
    }
}
