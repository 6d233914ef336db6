//! The Admin REST API.
