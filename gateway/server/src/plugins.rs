//! The plugins of this gateway. A new one is a line here.

use tollgate_plugin::Factory;

/// All of them.
pub fn all() -> Vec<Box<dyn Factory>> {
    vec![Box::new(tollgate_oauth2::OAuth2Factory)]
}
