//! The steps from a text to entities.

use serde_json::Value;

use crate::fault::Faults;
use crate::identity;
use crate::layout;
use crate::references;
use crate::source;
use crate::validation::{self, Entity, Reading};

/// The entities of a file, each after those that it refers to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// The entities.
    pub entities: Vec<Entity>,
}

/// Reads a text.
///
/// # Errors
/// Something is wrong with it: everything that is.
pub fn read(text: &str, reading: &Reading<'_>) -> Result<Configuration, Faults> {
    let source = source::read(text).map_err(|fault| Faults::new(vec![fault], Value::Null, reading.catalogue))?;
    let source::Source { root, mut faults } = source;
    let mut laid = layout::read(&root, reading.catalogue, &mut faults);
    let index = identity::assign(&mut laid.entities, reading.catalogue);
    references::resolve(&mut laid.entities, &index, &mut faults);
    let entities = validation::validate(&laid, reading, &mut faults);
    if faults.is_empty() {
        return Ok(Configuration { entities });
    }
    for fault in faults.iter_mut().filter(|fault| fault.at.is_none()) {
        fault.at = Some(root.find(&fault.path));
    }
    Err(Faults::new(faults, root.value(), reading.catalogue))
}
