//! Tokens of other authorization servers (*authorities*): what the plugins that accept them share.

pub mod claims;
pub mod jose;
