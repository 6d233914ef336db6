//! Compares Tollgate with its peers.
//!
//! Requests per second mean little when generator, proxy and upstream share the processors. The figure is
//! the proxy's CPU time per request ([`cpu`]), as a ratio to a peer measured in the same round
//! ([`measurement`]).
//!
//! - [`row`]: what is measured; [`stage`]: the prepared programs; [`program`]: how each is run.
//! - [`load`]: the load generators; [`check`]: checks of responses; [`prover`]: a client that proves its key.
//! - [`sample`]: results of the rounds; [`target`]: expected results; [`report`]: output.
//! - [`store`], [`capacity`]: the store alone, compared with `pgbench`; [`signature_check`]: OpenSSL alone.
//! - [`memory`]: what a cached token of a third party takes; [`certificates`]: what ten thousand of them cost.
//!
//! It drives programs and observes them from outside. The Criterion benchmarks measure single
//! components.

pub mod account;
pub mod capacity;
pub mod certificates;
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
pub mod memory;
pub mod options;
pub mod postgres;
pub mod program;
pub mod progress;
pub mod prover;
pub mod report;
pub mod row;
pub mod sample;
pub mod signature_check;
pub mod site;
pub mod stage;
pub mod store;
pub mod target;
pub mod token_list;
