//! Tollgate: an OAuth2 edge gateway on Pingora.

pub mod certificate;
pub mod cli;
pub mod config;
pub mod plugin_choice;
pub mod proxy;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
