//! The kinds of entity the plugin keeps.

pub mod token;
