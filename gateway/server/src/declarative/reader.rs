//! Reads configurations, from files and from the store.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use tollgate_core::clock::Clock;
use tollgate_core::collection::{Document, Filter, PageQuery};
use tollgate_core::entity::{InFiles, Kind};
use tollgate_core::error::StoreError;
use tollgate_core::random::Random;
use tollgate_core::registry::Registry;
use tollgate_core::schema::{Makers, Violations};
use tollgate_declarative::{Catalogue, Configuration, Faults, MAX_BYTES, Reading};
use tollgate_store::Declared;

use super::Error;

/// The number of entities that are read at once.
const PAGE: usize = 1000;

/// What this node has against an entity that its schema accepts.
pub type Objections = Arc<dyn Fn(&Kind, &Document) -> Violations + Send + Sync>;

/// Reads configurations, with the kinds of a gateway.
#[derive(Clone)]
pub struct Reader {
    registry: Registry,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    objections: Objections,
}

impl Reader {
    /// With these kinds.
    pub fn new(registry: Registry, clock: Arc<dyn Clock>, random: Arc<dyn Random>, objections: Objections) -> Self {
        Self { registry, clock, random, objections }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Something is wrong with it.
    pub fn read(&self, text: &str) -> Result<Configuration, Faults> {
        let catalogue = Catalogue::new(&self.registry);
        let makers = Makers { clock: self.clock.as_ref(), random: self.random.as_ref() };
        let objections = |kind: &Kind, document: &Document| (self.objections)(kind, document);
        tollgate_declarative::read(text, &Reading { catalogue: &catalogue, makers, objections: &objections })
    }

    /// Whether the gateway itself issues entities of a kind, so that files only add them.
    pub fn is_issued(&self, kind: &str) -> bool {
        self.registry.kind(kind).is_some_and(|kind| kind.in_files == InFiles::ReadOnly)
    }

    /// All entities of the store that files contain, by kind; kinds in the order of their references.
    ///
    /// # Errors
    /// The store failed.
    pub async fn stored(&self) -> Result<Vec<(&'static str, Vec<Document>)>, StoreError> {
        let names: Vec<_> = Catalogue::new(&self.registry).kinds().map(|kind| (kind.name, kind.in_files)).collect();
        let mut found = Vec::new();
        for (name, _) in names.into_iter().filter(|(_, in_files)| *in_files == InFiles::Declared) {
            let Some(collection) = self.registry.collection(name) else { continue };
            let mut documents = Vec::new();
            let mut query = PageQuery { filter: Filter::All, after: None, size: PAGE };
            loop {
                let page = collection.page(&query).await?;
                documents.extend(page.documents);
                match page.next {
                    Some(next) => query.after = Some(next),
                    None => break,
                }
            }
            found.push((name, documents));
        }
        Ok(found)
    }

    /// The configuration in the store as text, which reads as the same configuration.
    ///
    /// # Errors
    /// The store failed, or has what no file can say.
    pub async fn export(&self) -> Result<String, StoreError> {
        let stored = self.stored().await?;
        let catalogue = Catalogue::new(&self.registry);
        let entities = stored.iter().map(|(name, documents)| (*name, documents.as_slice()));
        let text = tollgate_declarative::export(&catalogue, entities);
        text.map_err(|_| StoreError::Corrupt { kind: "configuration", what: "a value has no form in YAML" })
    }
}

/// The entities of a file by kind, in the order of their references.
pub fn by_kind(configuration: Configuration) -> Vec<(&'static str, Vec<Declared>)> {
    let mut kinds: Vec<(&'static str, Vec<Declared>)> = Vec::new();
    for entity in configuration.entities {
        let declared = Declared { document: entity.document, left_open: entity.left_open };
        match kinds.last_mut() {
            Some((kind, list)) if *kind == entity.kind => list.push(declared),
            _ => kinds.push((entity.kind, vec![declared])),
        }
    }
    kinds
}

/// Reads a file of a configuration.
///
/// # Errors
/// It cannot be read.
pub fn text_of(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(most.saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
    if text.len() > MAX_BYTES { Err(Error::Size(path.to_owned())) } else { Ok(text) }
}
