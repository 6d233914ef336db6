//! The steps from a text to entities.

use tollgate_core::entity::Kind;
use tollgate_core::schema::{Document, Makers, Violations};

use crate::catalogue::Catalogue;
use crate::fault::Faults;
use crate::identity;
use crate::layout;
use crate::references;
use crate::source;
use crate::validation;

/// What reading needs besides the text.
pub struct Reading<'r> {
    /// The kinds.
    pub catalogue: &'r Catalogue<'r>,
    /// The sources of ids, times and random strings.
    pub makers: Makers<'r>,
    /// What this node has against an entity that its schema accepts.
    pub objections: &'r (dyn Fn(&Kind, &Document) -> Violations + Sync),
}

/// One entity of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// The name of its kind.
    pub kind: &'static str,
    /// The entity as it is stored.
    pub document: Document,
    /// Automatic values that the file leaves open, as paths: an entity that is there keeps its own.
    pub left_open: Vec<Vec<&'static str>>,
}

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
    let source = source::read(text).map_err(|fault| Faults::new(vec![fault], serde_json::Value::Null))?;
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
    Err(Faults::new(faults, root.value()))
}
