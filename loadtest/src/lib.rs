//! A load tester for gateways that check opaque OAuth2 tokens.
//!
//! [`engine`] sends requests at their scheduled times over [`connection`]s, a [`recorder`] counts
//! what comes back, [`check`] says whether it was right, and an [`outcome`] is what remains.

pub mod check;
pub mod connection;
pub mod engine;
pub mod outcome;
pub mod recorder;
pub mod schedule;
