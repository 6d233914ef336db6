//! The kinds of entity the plugin keeps.

pub mod credential;
pub mod token;
