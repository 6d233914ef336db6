//! The keys of signed access tokens (RFC 7517 §5), for whoever verifies signatures.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use tollgate_core::reply::Reply;

use crate::endpoint::response::{self, State};
use crate::endpoint::{AuthorizationServer, Endpoint};
use crate::error::Error;

/// The next key is published long before it signs; one that an operator has made at once is found by its id.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub(super) async fn respond(server: &AuthorizationServer) -> Reply {
    match server.issuer.signing_keys.published().await {
        Ok(keys) => {
            Reply::json(StatusCode::OK, "keys_published", &json!({"keys": keys})).with_header(CACHE_CONTROL, CACHED)
        }
        Err(error) => response::failed(Endpoint::Jwks, &Error::Store(error), &State::default()),
    }
}
