//! Throughput of the token store, compared with `pgbench` on the same table.
//!
//! - [`TokenTable`]: a table from the migrations, filled with millions of rows.
//! - [`look_up`], [`issue`]: the plugin's own store port with many concurrent callers.
//! - [`pgbench`]: the peer, one row per statement, eight clients.
//! - [`Rate`]: the work done, and the CPU time that this process spent on it.
//!
//! Every result is checked: a row that is not found or not added is an error, not a fast result. This measures
//! only the store, in this process; [`crate::row`] measures whole requests.

pub mod pgbench;
pub mod rate;
pub mod table;
pub mod traffic;

pub use rate::Rate;
pub use table::TokenTable;
pub use traffic::{issue, look_up};
