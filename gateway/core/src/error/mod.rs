//! What can go wrong with the store, and with an entity that is read from it or written to it.

mod entity;
mod store;

pub use entity::DaoError;
pub use store::StoreError;
