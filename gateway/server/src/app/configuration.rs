//! `tollgate config`: files of configuration, checked, taken into the database, and written.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use tollgate_core::clock::SystemClock;
use tollgate_core::random::SystemRandom;
use tollgate_dns::Resolver;
use tollgate_store::{Changes, Extent, MigrationPolicy, Store};

use super::{Migration, StartError, control_runtime, entities, hosts, make_data_directory, store_options};
use crate::declarative::{self, Reader};
use crate::node;
use crate::settings::{ConfigurationSource, Settings};

/// Where an export is written.
#[derive(Debug, Clone, Copy)]
pub enum Output<'p> {
    /// To standard output, by the caller.
    Text,
    /// To a file that only its owner can read: there are secrets in it.
    File(&'p Path),
}

/// Checks a file, without a database.
///
/// # Errors
/// Something is wrong with it.
pub fn validate(settings: &Settings, path: &Path) -> Result<String, StartError> {
    let text = declarative::text_of(path)?;
    let folder = tempfile::tempdir().map_err(StartError::Scratch)?;
    let shown = path.display();
    control_runtime()?.block_on(async {
        let mut options = store_options(settings, Migration::First, &prometheus::Registry::new());
        options.url = format!("sqlite:{}", folder.path().join("scratch.db").display());
        options.replicas.clear();
        options.migration = MigrationPolicy::Migrate;
        let reader = reader(settings, &Store::open(options).await?).await?;
        let read = reader.read(&text).map_err(|faults| declarative::Error::Faults(faults.lines(&shown.to_string())))?;
        Ok(format!("{shown}: {} entities, no faults.", read.entities.len()))
    })
}

/// What is wrong with the file from which the settings take the configuration, line by line.
///
/// # Errors
/// It could not be checked.
pub(super) fn problems(settings: &Settings) -> Result<Vec<String>, StartError> {
    let ConfigurationSource::File { path: Some(path), .. } = &settings.configuration else { return Ok(Vec::new()) };
    match validate(settings, path) {
        Ok(_) => Ok(Vec::new()),
        Err(StartError::Declarative(error)) => Ok(error.lines()),
        Err(error) => Err(error),
    }
}

/// Takes a file into the database: all of it, or nothing.
///
/// # Errors
/// Nothing was written.
pub fn import(settings: &Settings, path: &Path) -> Result<String, StartError> {
    if let ConfigurationSource::File { .. } = settings.configuration {
        return Err(StartError::ImportWithoutDatabase);
    }
    let text = declarative::text_of(path)?;
    make_data_directory(settings)?;
    let shown = path.display();
    control_runtime()?.block_on(async {
        let options = store_options(settings, Migration::Embedded, &prometheus::Registry::new());
        let store = Store::open(options).await?;
        let read = reader(settings, &store).await?.read(&text);
        let read = read.map_err(|faults| declarative::Error::Faults(faults.lines(&shown.to_string())))?;
        let declared = store.declare(declarative::by_kind(read), Extent::Added).await;
        let Changes { created, updated, unchanged, .. } = declared.map_err(declarative::Error::Declare)?;
        Ok(format!("{shown}: {created} entities created, {updated} updated, {unchanged} as they were."))
    })
}

/// Writes the configuration in the database.
///
/// # Errors
/// It could not be read, or the file not be written.
pub fn export(settings: &Settings, output: Output<'_>) -> Result<String, StartError> {
    make_data_directory(settings)?;
    let text = control_runtime()?.block_on(async {
        let options = store_options(settings, Migration::Embedded, &prometheus::Registry::new());
        let store = Store::open(options).await?;
        Ok::<_, StartError>(reader(settings, &store).await?.export().await?)
    })?;
    let Output::File(path) = output else { return Ok(text.trim_end().to_owned()) };
    let failed = |source| StartError::Export { path: path.to_owned(), source };
    // Whoever reads the file at the same time sees the old one or the new one. Only this user reads it: it has secrets.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut unfinished = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    unfinished.write_all(text.as_bytes()).and_then(|()| unfinished.as_file().sync_all()).map_err(failed)?;
    unfinished.persist(path).map_err(|error| failed(error.error))?;
    Ok(format!("Wrote {}.", path.display()))
}

/// Reads files with the kinds of this gateway.
async fn reader(settings: &Settings, store: &Store) -> Result<Reader, StartError> {
    let resolver = Resolver::new(tokio::runtime::Handle::current(), &settings.dns)?;
    let metrics = prometheus::Registry::new();
    let client = super::http_client(settings, &metrics, resolver)?;
    let registry = entities(&hosts(settings, store, &metrics, client)?).await?;
    let objections = node::objections(node::upstream_destinations(settings));
    Ok(Reader::new(registry, Arc::new(SystemClock), Arc::new(SystemRandom), objections))
}
