//! Upstreams: a service's addresses, and how to connect to it.

pub mod addresses;
pub mod announcement;
pub mod balancing;
pub mod named_services;
pub mod service;
pub mod trust;
pub mod uses;
pub mod version;
