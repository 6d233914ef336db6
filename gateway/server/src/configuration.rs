//! This node's copy of the configuration (services, routes, plugins), and the snapshot that is
//! compiled from it.
//!
//! Invariant: when [`ChangeListener::apply`] returns `Ok`, the published snapshot holds the
//! changes. Concurrent writes share a compilation: whoever comes to it first takes along all
//! changes that are waiting. What changed is read from the store again rather than taken from the
//! announcement, since announcements of concurrent writes may overtake each other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tollgate_core::change::{Change, ChangeListener};
use tollgate_core::collection::{Collection, Document, Filter, Key, PageQuery};
use tollgate_core::error::StoreError;
use tollgate_core::plugin::{Handler, Instance};
use tollgate_core::registry::Registry;
use tollgate_router::{CompileError, RouteSpec};
use uuid::Uuid;

use crate::plugin_choice::{PluginChoice, reference};
use crate::snapshot::{Chain, ChainEntry, RouteEntry, RouteFields, Snapshot};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::route_metrics::Labels;
use crate::upstream::service::{ServiceEntry, ServiceSpec, Verification};

/// The kinds that are loaded whole.
const KINDS: [&str; 3] = ["services", "routes", "plugins"];

/// How many entities one statement loads.
const PAGE_SIZE: usize = 1000;

type Documents = BTreeMap<Uuid, Arc<Document>>;

/// The entities, and what was compiled from them.
#[derive(Default)]
struct Mirror {
    documents: HashMap<&'static str, Documents>,
    services: HashMap<Uuid, (Arc<Document>, Option<Arc<ServiceEntry>>)>,
    handlers: HashMap<Uuid, (Arc<Document>, Option<ChainLink>)>,
}

/// A compiled plugin instance with its place in chains.
#[derive(Clone)]
struct ChainLink {
    name: &'static str,
    priority: i32,
    handler: Arc<dyn Handler>,
}

/// The configuration of this node.
pub struct Configuration {
    registry: Registry,
    metrics: Arc<Metrics>,
    verification: Verification,
    snapshot: Arc<ArcSwap<Snapshot>>,
    waiting: Mutex<Vec<(&'static str, Uuid)>>,
    mirror: tokio::sync::Mutex<Mirror>,
}

impl Configuration {
    /// Loads and compiles everything.
    pub async fn load(
        registry: Registry,
        metrics: Arc<Metrics>,
        verification: Verification,
    ) -> Result<Self, StoreError> {
        let nothing = Snapshot::compile([]).map_err(uncompilable)?;
        let configuration = Self {
            registry,
            metrics,
            verification,
            snapshot: Arc::new(ArcSwap::from_pointee(nothing)),
            waiting: Mutex::default(),
            mirror: tokio::sync::Mutex::default(),
        };
        configuration.reset().await?;
        Ok(configuration)
    }

    /// What requests use.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Applies changes whose reading failed before; the app calls this now and then.
    pub async fn retry(&self) {
        if !self.lock_waiting().is_empty()
            && let Err(error) = self.catch_up().await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "configuration changes are not in force yet");
        }
    }

    fn lock_waiting(&self) -> std::sync::MutexGuard<'_, Vec<(&'static str, Uuid)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the snapshot up to date with everything that waits.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let mut mirror = self.mirror.lock().await;
        let batch = std::mem::take(&mut *self.lock_waiting());
        if batch.is_empty() {
            // Somebody took our changes along while we waited for the mirror.
            return Ok(());
        }
        let applied = self.apply_to(&mut mirror, &batch).await;
        if applied.is_err() {
            self.lock_waiting().extend(batch);
        }
        applied
    }

    async fn apply_to(&self, mirror: &mut Mirror, batch: &[(&'static str, Uuid)]) -> Result<(), StoreError> {
        for &(kind, id) in batch {
            let Some(collection) = self.registry.collection(kind) else { continue };
            let documents = mirror.documents.entry(kind).or_default();
            match collection.find(&Key::Id(id)).await? {
                Some(document) => documents.insert(id, Arc::new(document)),
                None => documents.remove(&id),
            };
        }
        self.publish(mirror)
    }

    fn publish(&self, mirror: &mut Mirror) -> Result<(), StoreError> {
        self.compile_services(mirror);
        self.compile_handlers(mirror);
        let snapshot = self.compile_routes(mirror)?;
        self.snapshot.store(Arc::new(snapshot));
        self.metrics.prune();
        Ok(())
    }

    fn compile_services(&self, mirror: &mut Mirror) {
        let compile = |document: &Arc<Document>| {
            // A disabled service is as good as none (contract gateway.md §5).
            if document.get("enabled") == Some(&Value::Bool(false)) {
                return None;
            }
            let spec: ServiceSpec = read("services", document).ok()?;
            match ServiceEntry::new(&spec, self.verification) {
                Ok(entry) => Some(Arc::new(entry)),
                Err(error) => {
                    tracing::error!(service = %spec.id, %error, "service cannot be proxied to");
                    None
                }
            }
        };
        recompile(mirror.documents.get("services"), &mut mirror.services, compile);
    }

    fn compile_handlers(&self, mirror: &mut Mirror) {
        let compile = |document: &Arc<Document>| {
            let name = document.get("name")?.as_str()?;
            let Some(plugin) = self.registry.plugin(name) else {
                tracing::error!(plugin = name, "no such plugin; its routes are refused");
                return None;
            };
            let instance = Instance {
                id: document.get("id")?.as_str()?.parse().ok()?,
                service_id: reference(document, "service"),
                route_id: reference(document, "route"),
                config: document.get("config")?,
            };
            match plugin.compile(&instance) {
                Ok(handler) => Some(ChainLink { name: plugin.name(), priority: plugin.priority(), handler }),
                Err(error) => {
                    let cause = &error as &dyn std::error::Error;
                    tracing::error!(plugin = name, id = %instance.id, error = cause, "plugin cannot run; its routes are refused");
                    None
                }
            }
        };
        recompile(mirror.documents.get("plugins"), &mut mirror.handlers, compile);
    }

    fn compile_routes(&self, mirror: &Mirror) -> Result<Snapshot, StoreError> {
        let plugins = mirror.documents.get("plugins").into_iter().flat_map(BTreeMap::values);
        let choice = PluginChoice::new(plugins);
        let mut routes = Vec::new();
        for document in mirror.documents.get("routes").into_iter().flat_map(BTreeMap::values) {
            let spec: RouteSpec = read("routes", document)?;
            let fields: RouteFields = read("routes", document)?;
            let service_id = reference(document, "service");
            let service = service_id.and_then(|id| mirror.services.get(&id)).and_then(|(_, entry)| entry.clone());
            let chain = chain(&choice, mirror, fields.id, service_id);
            let service_document = service_id.and_then(|id| mirror.documents.get("services")?.get(&id));
            let labels = labels(&fields, service_document.map(AsRef::as_ref));
            let mut entry = RouteEntry::new(&fields, service, chain, self.metrics.route(labels));
            // Tokens are bound to the service even while it is disabled.
            entry.target.service_id = service_id;
            routes.push((spec, Arc::new(entry)));
        }
        Snapshot::compile(routes).map_err(uncompilable)
    }
}

#[async_trait]
impl ChangeListener for Configuration {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let ours = changes.iter().filter_map(|change| {
            let kind = KINDS.iter().find(|kind| **kind == change.kind)?;
            Some((*kind, change.id))
        });
        self.lock_waiting().extend(ours);
        self.catch_up().await
    }

    async fn reset(&self) -> Result<(), StoreError> {
        let mut mirror = self.mirror.lock().await;
        // Taken before reading: what is announced from now on is read again.
        self.lock_waiting().clear();
        for kind in KINDS {
            let documents = match self.registry.collection(kind) {
                Some(collection) => load(collection.as_ref()).await?,
                None => Documents::new(),
            };
            mirror.documents.insert(kind, documents);
        }
        self.publish(&mut mirror)
    }
}

fn uncompilable(error: CompileError) -> StoreError {
    tracing::error!(%error, "routes cannot be compiled");
    StoreError::Corrupt { kind: "routes", what: "it does not compile" }
}

async fn load(collection: &dyn Collection) -> Result<Documents, StoreError> {
    let mut documents = Documents::new();
    let mut query = PageQuery { filter: Filter::All, after: None, size: PAGE_SIZE };
    loop {
        let page = collection.page(&query).await?;
        for document in page.documents {
            let id = document.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
            let id = id.ok_or(StoreError::Corrupt { kind: collection.kind().name, what: "no id" })?;
            documents.insert(id, Arc::new(document));
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(documents),
        }
    }
}

/// Compiles what is new or has changed, keeps the rest and forgets what is gone.
fn recompile<T>(
    documents: Option<&Documents>,
    compiled: &mut HashMap<Uuid, (Arc<Document>, Option<T>)>,
    compile: impl Fn(&Arc<Document>) -> Option<T>,
) {
    let mut kept = HashMap::new();
    for (id, document) in documents.into_iter().flatten() {
        let entry = match compiled.remove(id) {
            Some((old, value)) if Arc::ptr_eq(&old, document) => value,
            _ => compile(document),
        };
        kept.insert(*id, (Arc::clone(document), entry));
    }
    *compiled = kept;
}

/// The plugins of a route in descending priority, ties by descending name.
fn chain(choice: &PluginChoice, mirror: &Mirror, route: Uuid, service: Option<Uuid>) -> Chain {
    let mut links = Vec::new();
    for (_, instance) in choice.for_route(route, service) {
        let id = instance.get("id").and_then(Value::as_str).and_then(|id| id.parse::<Uuid>().ok());
        match id.and_then(|id| mirror.handlers.get(&id)) {
            Some((_, Some(link))) => links.push(link.clone()),
            _ => return Chain::Uncompilable,
        }
    }
    links.sort_by(|one, other| (other.priority, other.name).cmp(&(one.priority, one.name)));
    let entries = links.into_iter().map(|link| ChainEntry { name: link.name, handler: link.handler });
    Chain::Ready(entries.collect())
}

fn labels(route: &RouteFields, service: Option<&Document>) -> Labels {
    let text = |field: &str| service.and_then(|service| service.get(field)?.as_str()).map(str::to_owned);
    Labels {
        service: text("name").or_else(|| text("host")).unwrap_or_default(),
        route: route.name.clone().unwrap_or_else(|| route.id.to_string()),
    }
}

fn read<T: DeserializeOwned>(kind: &'static str, document: &Document) -> Result<T, StoreError> {
    serde_json::from_value(Value::Object(document.clone())).map_err(|error| {
        tracing::error!(kind, %error, "a stored entity cannot be read");
        StoreError::Corrupt { kind, what: "a field has another type than its schema says" }
    })
}
