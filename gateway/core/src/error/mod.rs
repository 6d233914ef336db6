//! Errors of the store, and of reading or writing an entity.

mod entity;
mod store;

pub use entity::DaoError;
pub use store::{BreakerOpen, StoreError};
