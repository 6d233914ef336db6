//! Tollgate: an OAuth2 edge gateway on Pingora.
//!
//! [`app`] is the composition root; [`proxy`] the data plane; [`settings`] the node's settings; [`snapshot`]
//! the configuration from the Admin API, compiled for requests.

pub mod admin_tls;
pub mod admin_tokens;
pub mod app;
pub mod build_info;
pub mod certificate;
pub mod certificate_files;
pub mod chain;
pub mod check;
pub mod cli;
pub mod control;
pub mod declarative;
pub mod descriptors;
pub mod explain;
pub mod health;
pub mod hot_set;
pub mod identity;
pub mod log;
pub mod manual;
pub mod node;
pub mod operator_listeners;
pub mod pem;
pub mod plugin_choice;
pub mod plugins;
pub mod process_memory;
pub mod proxy;
pub mod proxy_protocol;
pub mod read_again;
pub mod reload;
pub mod remarks;
mod scheme;
pub mod served;
pub mod service_manager;
#[cfg(pingora_patched)]
pub mod session_tickets;
pub mod settings;
pub mod shutdown;
pub mod snapshot;
pub mod socket_activation;
pub mod sockets;
pub mod status;
pub mod telemetry;
pub mod tls;
pub mod tls_listeners;
pub mod upstream;
