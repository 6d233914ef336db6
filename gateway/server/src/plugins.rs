//! The plugins of this gateway. A new one is a line here.

use tollgate_plugin::Factory;

/// All of them.
#[rustfmt::skip]
pub fn all() -> Vec<Box<dyn Factory>> {
    vec![
        Box::new(tollgate_cors::CorsFactory),
        Box::new(tollgate_oauth2::OAuth2Factory),
    ]
}
