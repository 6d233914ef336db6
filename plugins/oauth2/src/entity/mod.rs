//! The kinds of entity the plugin keeps.

pub mod authorization_code;
pub mod credential;
pub mod token;
