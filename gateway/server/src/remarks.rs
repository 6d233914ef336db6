//! What plugins have to say of their instances' configurations: logged at start, and shown by `tollgate check`.

use std::sync::Arc;

use serde_json::Value;
use tollgate_core::collection::{Collection, Document, Filter, PageQuery};
use tollgate_core::entity;
use tollgate_core::error::StoreError;
use tollgate_core::setting::{SettingError, SettingValues};
use tollgate_plugin::{Factory, Remark};
use tollgate_store::Store;

use crate::plugins;

/// The number of plugins that are read at once.
const PAGE: usize = 1000;

/// Why there are no remarks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// A remark, with the instance that it is about.
pub struct About {
    /// The instance, such as `plugin oauth2 ID of service ID`.
    pub instance: String,
    /// The remark.
    pub remark: Remark,
}

impl About {
    /// The text, with the instance.
    pub fn text(&self) -> String {
        let (Remark::Notice(text) | Remark::Warning(text) | Remark::Fault(text)) = &self.remark;
        let warning = if matches!(self.remark, Remark::Warning(_)) { "warning: " } else { "" };
        format!("{warning}{}: {text}", self.instance)
    }

    /// Writes it to the log.
    pub fn log(&self) {
        match self.remark {
            Remark::Notice(_) => tracing::info!("{}", self.text()),
            Remark::Warning(_) | Remark::Fault(_) => tracing::warn!("{}", self.text()),
        }
    }
}

/// The remarks about all enabled instances in the store.
///
/// # Errors
/// The store failed, or a setting is wrong.
pub async fn read(store: &Store, settings: &SettingValues) -> Result<Vec<About>, Error> {
    let collection: Arc<dyn Collection> = store.documents(Arc::new(entity::plugin::kind()));
    let factories = plugins::all();
    let mut found = Vec::new();
    let mut query = PageQuery { filter: Filter::All, after: None, size: PAGE };
    loop {
        let page = collection.page(&query).await?;
        for document in &page.documents {
            found.extend(about(document, &factories, settings)?);
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}

fn about(
    document: &Document,
    factories: &[Box<dyn Factory>],
    settings: &SettingValues,
) -> Result<Vec<About>, SettingError> {
    let name = document.text("name").unwrap_or_default();
    let factory = factories.iter().find(|factory| factory.name() == name && document.flag("enabled") != Some(false));
    let Some((factory, config)) = factory.zip(document.get("config")) else { return Ok(Vec::new()) };
    let remarks = factory.remarks(config, settings)?;
    Ok(remarks.into_iter().map(|remark| About { instance: instance(document, name), remark }).collect())
}

fn instance(document: &Document, name: &str) -> String {
    let id = document.get("id").and_then(Value::as_str).unwrap_or_default();
    let of = |field| document.reference(field).map(|parent| format!(" of {field} {parent}"));
    format!("plugin {name} {id}{}", of("route").or_else(|| of("service")).unwrap_or_default())
}
