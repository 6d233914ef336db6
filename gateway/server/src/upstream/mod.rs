//! Where requests go: a service's addresses, and how a connection to it is made.

pub mod addresses;
pub mod service;
pub mod uses;
