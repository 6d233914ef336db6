//! The store's contract, tested on both databases, and tests for one of them.

mod access;
mod batch;
mod contract;
mod declaration;
mod feed;
mod fixture;
mod hosts;
mod lag;
mod long_transactions;
mod metrics;
mod migration;
mod outcome;
mod retention;
mod sql_files;
mod sqlite;
