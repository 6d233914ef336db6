//! Measures Tollgate beside its peers.
//!
//! Requests a second say little where generator, proxy and upstream share the processors. The
//! figure is the proxy's CPU time for each request ([`cpu`]), as a ratio to a peer that was
//! measured in the same round ([`measurement`]).
//!
//! - [`row`]: what is measured; [`stage`]: the programs, made ready; [`program`]: how each is run.
//! - [`load`]: who sends the requests; [`check`]: that the answers are right.
//! - [`sample`]: what the rounds come to; [`target`]: what it should be; [`report`]: how it is told.
//! - [`store`], [`capacity`]: the store alone, beside `pgbench`.
//!
//! It drives programs and looks at them from outside. What single parts cost is told by the
//! Criterion benches beside it.

pub mod account;
pub mod capacity;
pub mod check;
pub mod command;
pub mod counters;
pub mod cpu;
pub mod database;
pub mod error;
pub mod figure;
pub mod load;
pub mod machine;
pub mod measurement;
pub mod options;
pub mod postgres;
pub mod program;
pub mod progress;
pub mod report;
pub mod row;
pub mod sample;
pub mod site;
pub mod stage;
pub mod store;
pub mod target;
pub mod token_list;
