//! The named captures of a route's paths.

use std::sync::Arc;

use regex::Regex;

/// The paths of a route that have named captures.
#[derive(Debug, Default)]
pub(super) struct Captures(Option<Arc<[Regex]>>);

impl Captures {
    /// Those of these paths; a path that does not compile captures nothing.
    pub(super) fn new(paths: &[String]) -> Self {
        let patterns = paths.iter().filter_map(|path| path.strip_prefix('~'));
        let named = patterns.filter(|pattern| pattern.contains("(?<") || pattern.contains("(?P<"));
        let compiled: Arc<[Regex]> = named.filter_map(|pattern| Regex::new(&format!("^{pattern}")).ok()).collect();
        Self((!compiled.is_empty()).then_some(compiled))
    }

    /// `None`: there are none.
    pub(super) fn named(&self) -> Option<Arc<[Regex]>> {
        self.0.clone()
    }
}
