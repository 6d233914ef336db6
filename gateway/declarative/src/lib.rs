//! Files of configuration (gateway.md §10): text → entities, with every fault and its place; entities → text.
//!
//! Whatever is known of entities comes from their kinds in the [`Registry`](tollgate_core::registry::Registry), as in
//! the Admin API: a new kind needs nothing here. Nothing in here accesses a store.
//!
//! 1. `source`: YAML or JSON → a tree whose nodes know their line and column; bounded, aliases included.
//! 2. `layout`: the tree → declared entities: top-level lists, entities nested in others, what decK adds.
//! 3. `identity`: ids that follow from what an entity is.
//! 4. `references`: names and ids → the entities that they mean.
//! 5. `validation`: schemas, unique values, protocols.
//!
//! Every step goes on after a fault, so that a file with ten faults reports ten ([`Faults`]).

mod catalogue;
mod configuration;
mod deck;
mod export;
mod fault;
mod flattened;
mod identity;
mod index;
mod layout;
mod node;
mod position;
mod references;
mod source;
#[cfg(test)]
mod tests;
mod validation;

pub use catalogue::Catalogue;
pub use configuration::{Configuration, read};
pub use export::export;
pub use fault::{Fault, Faults};
pub use position::Position;
pub use source::MAX_BYTES;
pub use validation::{Entity, Reading};
