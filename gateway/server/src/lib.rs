//! Tollgate: an OAuth2 edge gateway on Pingora.
//!
//! [`app`] is the composition root; [`proxy`] the data plane; [`configuration`] what the Admin API
//! changes and requests obey, compiled into a [`snapshot`].

pub mod app;
pub mod build_info;
pub mod certificate;
pub mod chain;
pub mod cli;
pub mod config;
pub mod configuration;
pub mod descriptors;
pub mod log;
mod mirror;
pub mod node;
pub mod plugin_choice;
pub mod plugins;
pub mod proxy;
pub mod shutdown;
pub mod snapshot;
pub mod status;
pub mod telemetry;
pub mod tls;
pub mod upstream;
