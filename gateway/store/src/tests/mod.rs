//! The store's contract, run on both databases, and what only one of them has.

mod access;
mod batch;
mod contract;
mod feed;
mod fixture;
mod long_transactions;
mod metrics;
mod migration;
mod outcome;
mod sql_files;
mod sqlite;
