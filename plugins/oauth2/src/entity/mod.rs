//! The plugin's kinds of entity.

pub mod authorization_code;
pub mod credential;
pub mod registered;
pub mod signing_key;
pub mod token;
