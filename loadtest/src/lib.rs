//! A load tester for gateways that check opaque OAuth2 tokens.
//!
//! A [`recorder`] counts what comes back, and an [`outcome`] is what remains of a run.

pub mod outcome;
pub mod recorder;
