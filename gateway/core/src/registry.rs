//! What is registered with a running gateway: kinds with their collections, and plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::collection::Collection;
use crate::entity::Kind;
use crate::plugin::{Definition, Plugin};

/// A running plugin with its definition.
#[derive(Clone)]
pub struct Registered {
    /// Its definition.
    pub definition: Definition,
    /// The plugin itself.
    pub plugin: Arc<dyn Plugin>,
}

/// Kinds and plugins by name. Built once in the composition root.
#[derive(Clone, Default)]
pub struct Registry {
    collections: BTreeMap<&'static str, Arc<dyn Collection>>,
    internal_kinds: BTreeMap<&'static str, Kind>,
    plugins: BTreeMap<&'static str, Registered>,
}

impl Registry {
    /// Nothing registered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a kind's collection.
    pub fn add_collection(&mut self, collection: Arc<dyn Collection>) {
        self.collections.insert(collection.kind().name, collection);
    }

    /// Registers a plugin with the kinds it brings.
    pub fn add_plugin(&mut self, definition: Definition, plugin: Arc<dyn Plugin>) {
        for collection in plugin.collections() {
            self.add_collection(collection);
        }
        self.internal_kinds.extend(plugin.internal_kinds().into_iter().map(|kind| (kind.name, kind)));
        self.plugins.insert(definition.name, Registered { definition, plugin });
    }

    /// The collection of a kind, by its name such as `routes`.
    pub fn collection(&self, kind: &str) -> Option<&Arc<dyn Collection>> {
        self.collections.get(kind)
    }

    /// A kind by its name, whether or not it has a collection.
    pub fn kind(&self, name: &str) -> Option<&Kind> {
        let stored = self.collections.get(name).map(|collection| collection.kind());
        stored.or_else(|| self.internal_kinds.get(name))
    }

    /// All kinds, whether or not they have collections.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        let stored = self.collections.values().map(|collection| collection.kind());
        let internal = self.internal_kinds.iter().filter(|(name, _)| !self.collections.contains_key(*name));
        stored.chain(internal.map(|(_, kind)| kind))
    }

    /// All collections, ordered by the name of their kind.
    pub fn collections(&self) -> impl Iterator<Item = &Arc<dyn Collection>> {
        self.collections.values()
    }

    /// A plugin by name.
    pub fn plugin(&self, name: &str) -> Option<&Registered> {
        self.plugins.get(name)
    }

    /// All plugins, ordered by name.
    pub fn plugins(&self) -> impl Iterator<Item = &Registered> {
        self.plugins.values()
    }
}
