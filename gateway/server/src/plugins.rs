//! The plugins of this gateway. A new one is a line here.

use tollgate_plugin::Factory;

use crate::proxy::{IdentityHeaders, InvalidName};

/// All of them.
#[rustfmt::skip]
pub fn all() -> Vec<Box<dyn Factory>> {
    vec![
        Box::new(tollgate_acl::AclFactory),
        Box::new(tollgate_cors::CorsFactory),
        Box::new(tollgate_key_auth::KeyAuthFactory),
        Box::new(tollgate_oauth2::OAuth2Factory),
    ]
}

/// The identity headers that they name, and those of the compatible gateway.
///
/// # Errors
/// A plugin names one that cannot be an identity header.
pub fn identity_headers() -> Result<IdentityHeaders, InvalidName> {
    IdentityHeaders::with_plugins(all().iter().map(|plugin| (plugin.name(), plugin.identity_headers())))
}
