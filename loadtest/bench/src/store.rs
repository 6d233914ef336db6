//! What the token store does in a second, beside what `pgbench` makes of the same table.
//!
//! - [`TokenTable`]: a table as the migrations make it, filled by the million.
//! - [`look_up`], [`issue`]: the plugin's own store port, asked by many callers at a time.
//! - [`pgbench`]: the peer, one row a statement, eight clients.
//! - [`Rate`]: what was done, and the processor time that this process spent on it.
//!
//! Every answer is checked: a row that is not found, or not added, is an error and not a fast answer.
//! It measures the store alone, in this process; whole requests are measured by [`crate::row`].

pub mod pgbench;
pub mod rate;
pub mod table;
pub mod traffic;

pub use rate::Rate;
pub use table::TokenTable;
pub use traffic::{issue, look_up};
