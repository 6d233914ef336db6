//! A load tester for gateways that check opaque OAuth2 tokens: an [`outcome`] is what remains of
//! a run.

pub mod outcome;
