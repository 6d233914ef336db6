//! A configuration that comes from a file (gateway.md §10): read, and put in the place of the one before.
//!
//! The file is what counts; the store keeps its image, in which whatever else the gateway does finds its entities: one
//! transaction replaces it, and announces what has changed as any write does. So tokens of a client that is no longer
//! in the file end with that replacement, on every node that shares the store.
//!
//! A file with faults changes nothing.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use openssl::hash::MessageDigest;
use serde_json::{Map, Value, json};
use tollgate_admin::{IfIdentical, Refusal, Standing};
use tollgate_core::collection::Document;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_declarative::{Configuration, Faults, MAX_BYTES};
use tollgate_store::{Changes, DeclareError, Extent, Store};

use self::metrics::{Metrics, Result as Counted};

pub mod metrics;
mod reader;
pub mod watch;

pub use reader::{Objections, Reader, by_kind, text_of};

/// The hash of no configuration.
const NOTHING: &str = "00000000000000000000000000000000";

/// The most faults that are kept and logged.
const SHOWN: usize = 100;

/// Why a configuration is not in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is larger than any that is read.
    #[error("{0} is larger than {MAX_BYTES} bytes")]
    Size(PathBuf),
    /// Something is wrong with it: a line for each fault.
    #[error("{}", .0.join("\n"))]
    Faults(Vec<String>),
    /// It contradicts what is in the database, or the store failed.
    #[error(transparent)]
    Declare(#[from] DeclareError),
}

impl Error {
    /// Whether the file may be without fault: the store failed.
    pub fn is_of_store(&self) -> bool {
        matches!(self, Self::Declare(DeclareError::Dao(DaoError::Store(_))))
    }

    /// What is wrong, line by line.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Faults(lines) => lines.iter().take(SHOWN).cloned().collect(),
            other => vec![other.to_string()],
        }
    }
}

/// The configuration of a node on which no Admin API changes it.
pub struct Declarative {
    reader: Reader,
    store: Store,
    metrics: Metrics,
    /// Held while a configuration is read and applied.
    turn: tokio::sync::Mutex<()>,
    standing: Mutex<Standing>,
}

impl Declarative {
    /// What was in force in this store before; at first, nothing.
    ///
    /// # Errors
    /// The store failed.
    pub async fn new(reader: Reader, store: Store, metrics: Metrics) -> Result<Self, StoreError> {
        let hash = store.declared_hash().await?.unwrap_or_else(|| NOTHING.to_owned());
        let standing = Mutex::new(Standing { hash, faults: Vec::new() });
        Ok(Self { reader, store, metrics, turn: tokio::sync::Mutex::default(), standing })
    }

    /// Puts the configuration of a file in the place of the one before.
    ///
    /// # Errors
    /// It is not in force; the one before is.
    pub async fn load(&self, path: &Path) -> Result<Changes, Error> {
        let _turn = self.turn.lock().await;
        let loaded = async {
            let text = text_of(path)?;
            let hash = hash(&text);
            let configuration = match self.read(text).await {
                Ok(configuration) => configuration,
                Err(faults) => return Err(Error::Faults(faults.lines(&path.display().to_string()))),
            };
            Ok(self.apply(configuration, hash).await?)
        };
        let loaded = loaded.await;
        if let Err(error) = &loaded {
            self.metrics.file_refused();
            self.lock_standing().faults = error.lines();
        }
        loaded
    }

    /// Reading takes the processor for a while.
    async fn read(&self, text: String) -> Result<Configuration, Faults> {
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || reader.read(&text)).await.unwrap_or_else(|panicked| {
            std::panic::resume_unwind(panicked.into_panic());
        })
    }

    async fn apply(&self, configuration: Configuration, hash: String) -> Result<Changes, DeclareError> {
        let entities = by_kind(configuration);
        let issued = entities.iter().filter(|(kind, _)| self.reader.is_issued(kind));
        for (kind, ignored) in issued {
            let count = ignored.len();
            tracing::warn!(kind, count, "entities that the gateway issues are not loaded: tollgate config import does");
        }
        let changes = self.store.declare(entities, Extent::Whole { hash: hash.clone() }).await?;
        *self.lock_standing() = Standing { hash, faults: Vec::new() };
        self.metrics.count(Counted::Applied);
        let Changes { created, updated, deleted, unchanged } = changes;
        tracing::info!(created, updated, deleted, unchanged, "configuration is in force");
        Ok(changes)
    }

    fn lock_standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl tollgate_admin::Declarations for Declarative {
    async fn replace(
        &self,
        text: String,
        if_identical: IfIdentical,
        faults: tollgate_admin::Faults,
    ) -> Result<Value, Refusal> {
        let Ok(_turn) = self.turn.try_lock() else { return Err(Refusal::Busy) };
        let hash = hash(&text);
        if if_identical == IfIdentical::Refuse && self.lock_standing().hash == hash {
            return Err(Refusal::Identical);
        }
        let configuration = self.read(text).await.map_err(|found| {
            self.metrics.count(Counted::Refused);
            Refusal::Invalid(match faults {
                tollgate_admin::Faults::Nested => found.to_json(),
                tollgate_admin::Faults::Flattened => found.to_flattened_json(),
            })
        })?;
        let declared = declared_ids(&configuration);
        self.apply(configuration, hash).await.map_err(|error| {
            self.metrics.count(Counted::Refused);
            refusal(error)
        })?;
        let stored = self.reader.stored().await.map_err(|error| Refusal::Dao(error.into()))?;
        Ok(by_id(stored, &declared))
    }

    async fn export(&self) -> Result<String, StoreError> {
        self.reader.export().await
    }

    fn standing(&self) -> Standing {
        self.lock_standing().clone()
    }
}

fn refusal(error: DeclareError) -> Refusal {
    match error {
        DeclareError::Dao(error) => Refusal::Dao(error),
        foreign @ DeclareError::Foreign { .. } => {
            let message = foreign.to_string();
            Refusal::Invalid(json!({
                "code": 14,
                "name": "invalid declarative configuration",
                "message": format!("declarative config is invalid: {message}"),
                "fields": {},
            }))
        }
    }
}

fn declared_ids(configuration: &Configuration) -> HashMap<&'static str, Vec<String>> {
    let mut ids: HashMap<&'static str, Vec<String>> = HashMap::new();
    for entity in &configuration.entities {
        ids.entry(entity.kind).or_default().extend(entity.document.text("id").map(str::to_owned));
    }
    ids
}

/// The entities of a configuration by kind and id, as they are stored.
fn by_id(stored: Vec<(&'static str, Vec<Document>)>, declared: &HashMap<&'static str, Vec<String>>) -> Value {
    let mut kinds = Map::new();
    for (kind, documents) in stored {
        let Some(ids) = declared.get(kind) else { continue };
        let ids: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let entity = |document: Document| Some((document.text("id")?.to_owned(), Value::from(document)));
        let entities = documents.into_iter().filter_map(entity).filter(|(id, _)| ids.contains(id.as_str()));
        kinds.insert(kind.to_owned(), Value::Object(entities.collect()));
    }
    Value::Object(kinds)
}

/// The MD5 of a text in hexadecimal: for comparison, and for tools that expect it.
fn hash(text: &str) -> String {
    match openssl::hash::hash(MessageDigest::md5(), text.as_bytes()) {
        Ok(digest) => digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        // Where only newer digests are permitted: the form is the same.
        Err(_) => openssl::sha::sha256(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
    }
}
