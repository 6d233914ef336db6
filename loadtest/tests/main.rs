//! The load tester against servers with known delays, and against the real gateway.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::await_holding_lock,
    unreachable_pub,
    reason = "a failed expectation is a failed test"
)]

mod accuracy;
mod command_line;
mod gateway;
mod outage;
mod ports;
mod program;
mod stub;
mod terminal;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// These tests measure time: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
