//! The plugins of this gateway. Add a plugin here, in one line.

use tollgate_plugin::cache::outage;
use tollgate_plugin::{Factory, Setting, token_cache};

use crate::proxy::{IdentityHeaders, InvalidName};

/// All plugins.
#[rustfmt::skip]
pub fn all() -> Vec<Box<dyn Factory>> {
    vec![
        Box::new(tollgate_acl::AclFactory),
        Box::new(tollgate_basic_auth::BasicAuthFactory),
        Box::new(tollgate_correlation_id::CorrelationIdFactory),
        Box::new(tollgate_cors::CorsFactory),
        Box::new(tollgate_ip_restriction::IpRestrictionFactory),
        Box::new(tollgate_jwt::JwtFactory),
        Box::new(tollgate_jwt_access_token::JwtAccessTokenFactory),
        Box::new(tollgate_key_auth::KeyAuthFactory),
        Box::new(tollgate_oauth2::OAuth2Factory),
        Box::new(tollgate_oauth2_introspection::OAuth2IntrospectionFactory),
        Box::new(tollgate_prometheus::PrometheusFactory),
        Box::new(tollgate_rate_limiting::RateLimitingFactory),
        Box::new(tollgate_request_size_limiting::RequestSizeLimitingFactory),
        Box::new(tollgate_request_termination::RequestTerminationFactory),
    ]
}

/// The settings of the plugins: those that several read, then those that each declares.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    token_cache::SETTINGS.iter().chain(outage::SETTINGS).chain(all().into_iter().flat_map(|plugin| plugin.settings()))
}

/// The identity headers declared by the plugins, and those of the compatible gateway.
///
/// # Errors
/// A plugin declares an invalid identity header.
pub fn identity_headers() -> Result<IdentityHeaders, InvalidName> {
    IdentityHeaders::with_plugins(all().iter().map(|plugin| (plugin.name(), plugin.identity_headers())))
}
