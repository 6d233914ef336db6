//! This node's copy of the configuration (services, routes, plugins, certificates), and what is
//! compiled from it: the snapshot that requests take, and the certificates that handshakes take.
//!
//! Invariant: when [`ChangeListener::apply`] returns `Ok`, what is published contains the
//! changes. Concurrent writes share a compilation: the first to compile includes all waiting
//! changes. A changed entity is read from the store again rather than taken from the
//! announcement, since announcements of concurrent writes may arrive out of order.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tollgate_core::change::{Change, ChangeListener};
use tollgate_core::collection::{Collection, Document, Filter, Key, PageQuery};
use tollgate_core::error::StoreError;
use tollgate_core::registry::Registry;
use uuid::Uuid;

use super::Snapshot;
use super::mirror::{Compiler, Mirror, Mirrored, SnapshotError};
use crate::served::Served;
use crate::telemetry::metrics::Metrics;
use crate::upstream::balancing::{Balancers, TARGET_HEALTH};
use crate::upstream::service::Verification;

/// The number of entities loaded per statement.
const PAGE_SIZE: usize = 1000;

/// The configuration of this node.
pub struct Configuration {
    compiler: Compiler,
    snapshot: Arc<ArcSwap<Snapshot>>,
    served: Arc<Served>,
    waiting: Mutex<Vec<(Mirrored, Uuid)>>,
    mirror: tokio::sync::Mutex<Mirror>,
}

impl Configuration {
    /// Loads and compiles everything. Certificates go to `served`.
    pub async fn load(
        registry: Registry,
        metrics: Arc<Metrics>,
        verification: Verification,
        balancers: Arc<Balancers>,
        served: Arc<Served>,
    ) -> Result<Self, StoreError> {
        let nothing = Snapshot::compile([]).map_err(|error| not_in_force(error.into()))?;
        let configuration = Self {
            compiler: Compiler { registry, metrics, verification, balancers },
            snapshot: Arc::new(ArcSwap::from_pointee(nothing)),
            served,
            waiting: Mutex::default(),
            mirror: tokio::sync::Mutex::default(),
        };
        configuration.reset().await?;
        Ok(configuration)
    }

    /// The snapshot that requests use.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Applies changes whose reading failed before, and removes the metrics of deleted routes;
    /// the app calls this periodically.
    pub async fn retry(&self) {
        if !self.lock_waiting().is_empty()
            && let Err(error) = self.catch_up().await
            && !error.is_reported()
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "configuration changes not in force yet; retrying"
            );
        }
        self.compiler.metrics.prune();
    }

    fn lock_waiting(&self) -> std::sync::MutexGuard<'_, Vec<(Mirrored, Uuid)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies all waiting changes to the snapshot.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let mut mirror = self.mirror.lock().await;
        let batch = std::mem::take(&mut *self.lock_waiting());
        if batch.is_empty() {
            // Another caller applied our changes while we waited for the mirror.
            return Ok(());
        }
        let applied = self.apply_to(&mut mirror, &batch).await;
        if applied.is_err() {
            self.lock_waiting().extend(batch);
        }
        applied
    }

    async fn apply_to(&self, mirror: &mut Mirror, batch: &[(Mirrored, Uuid)]) -> Result<(), StoreError> {
        for &(kind, id) in batch {
            let Some(collection) = self.compiler.registry.collection(kind.name()) else { continue };
            let document = collection.find(&Key::Id(id)).await?;
            mirror.set(&self.compiler, kind, id, document);
        }
        self.publish(mirror)
    }

    fn publish(&self, mirror: &mut Mirror) -> Result<(), StoreError> {
        if let Some(by_name) = mirror.take_served() {
            self.served.set_by_name(by_name);
        }
        if let Some(snapshot) = mirror.snapshot(&self.compiler).map_err(not_in_force)? {
            self.snapshot.store(Arc::new(snapshot));
        }
        // Requests go elsewhere by now.
        mirror.end_upstreams(&self.compiler);
        Ok(())
    }
}

#[async_trait]
impl ChangeListener for Configuration {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let ours = changes.iter().filter_map(|change| Some((Mirrored::of(&change.kind)?, change.id)));
        self.lock_waiting().extend(ours);
        self.catch_up().await?;
        let said = changes.iter().filter(|change| change.kind == TARGET_HEALTH);
        said.for_each(|change| self.compiler.balancers.apply(change));
        Ok(())
    }

    async fn reset(&self) -> Result<(), StoreError> {
        let mut mirror = self.mirror.lock().await;
        // Taken before reading: entities announced from now on are read again.
        self.lock_waiting().clear();
        let mut fresh = Mirror::default();
        for kind in Mirrored::ALL {
            let Some(collection) = self.compiler.registry.collection(kind.name()) else { continue };
            for (id, document) in load(collection.as_ref()).await? {
                fresh.set(&self.compiler, kind, id, Some(document));
            }
        }
        fresh.set_all_changed();
        self.publish(&mut fresh)?;
        *mirror = fresh;
        Ok(())
    }
}

fn not_in_force(error: SnapshotError) -> StoreError {
    tracing::error!(%error, "cannot compile configuration; previous configuration stays in force");
    let what = match error {
        SnapshotError::Unreadable(_) => "a field has the wrong type",
        SnapshotError::Router(_) => "too many routes",
    };
    StoreError::Corrupt { kind: "routes", what }
}

async fn load(collection: &dyn Collection) -> Result<Vec<(Uuid, Document)>, StoreError> {
    let mut documents = Vec::new();
    let mut query = PageQuery { filter: Filter::All, after: None, size: PAGE_SIZE };
    loop {
        let page = collection.page(&query).await?;
        for document in page.documents {
            let id =
                document.id().ok_or(StoreError::Corrupt { kind: collection.kind().name, what: "id is missing" })?;
            documents.push((id, document));
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(documents),
        }
    }
}
