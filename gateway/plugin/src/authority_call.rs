//! A call of an authority, as a span of the request that waits for it.

use bytes::Bytes;
use http::{Request, Response};
use tollgate_core::span::{self, Attribute, Ended};
use tollgate_http_client::{Class, Error, Profile};

/// As [`Profile::send`]. The span has the authority's host and port and how the call ended: neither the path nor what
/// was sent.
///
/// # Errors
/// As [`Profile::send`].
pub async fn send(profile: &Profile, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
    let (method, url) = (request.method().clone(), request.uri().clone());
    let described = |sent: &Result<Response<Bytes>, Error>| {
        let is_https = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let mut attributes: Vec<(&'static str, Attribute)> = vec![
            ("http.request.method", method.as_str().into()),
            ("server.address", url.host().unwrap_or_default().into()),
            ("server.port", port.into()),
        ];
        let error = match sent {
            Ok(response) => {
                attributes.push(("http.response.status_code", response.status().as_u16().into()));
                let failed = response.status().as_u16() >= 400;
                failed.then(|| response.status().as_str().to_owned().into())
            }
            Err(error) => Some(reason(error).into()),
        };
        Ended { attributes, error }
    };
    span::measured("authority call", span::Kind::Client, profile.send(request), described).await
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::Timeout { .. } => "timeout",
        error => match error.class() {
            Class::InvalidRequest => "invalid_request",
            Class::Unavailable => "unavailable",
            Class::BadResponse => "bad_response",
        },
    }
}
