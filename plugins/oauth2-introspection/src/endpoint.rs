//! An introspection endpoint: how it is asked about a token (RFC 7662 §2.1).

use async_trait::async_trait;
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tollgate_plugin::authority_call;
use tollgate_plugin::http_client::Profile;
use tollgate_third_party::{AuthorityUrl, CannotTell, Query, Said, Verifier};

use crate::client_authentication::ClientAuthentication;
use crate::response;
use crate::signed_response::SignedResponses;

/// The largest response, in bytes.
pub const MAX_RESPONSE: usize = 64 * 1024;

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SIGNED: HeaderValue = HeaderValue::from_static("application/token-introspection+jwt");
const REQUEST_PATH: HeaderName = HeaderName::from_static("x-request-path");
const REQUEST_METHOD: HeaderName = HeaderName::from_static("x-request-http-method");

/// An endpoint.
pub struct Endpoint {
    /// Where it is.
    pub url: AuthorityUrl,
    /// How it is called.
    pub profile: Profile,
    /// How the gateway authenticates.
    pub authentication: ClientAuthentication,
    /// What the token is likely to be, in the authority's words.
    pub token_type_hint: Option<String>,
    /// Headers of every call.
    pub headers: HeaderMap,
    /// How its responses are verified, if they have to be signed.
    pub signed: Option<SignedResponses>,
}

impl Endpoint {
    fn request(&self, query: &Query) -> Result<Request<Bytes>, CannotTell> {
        let failed = |what: &str| CannotTell::malformed(&self.url.name, what);
        let mut form = Serializer::new(String::new());
        form.append_pair("token", query.token.expose());
        if let Some(hint) = &self.token_type_hint {
            form.append_pair("token_type_hint", hint);
        }
        self.authentication.write(&mut form).map_err(|_| failed("the client assertion cannot be signed"))?;
        let mut request = Request::post(self.url.uri.clone())
            .body(Bytes::from(form.finish()))
            .map_err(|_| failed("its URL cannot be called"))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, if self.signed.is_some() { SIGNED } else { JSON });
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        headers.insert(CONTENT_TYPE, FORM);
        if let Some(value) = self.authentication.header() {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if let Some(line) = &query.request {
            let bytes = |text: &str| HeaderValue::from_bytes(text.as_bytes());
            let unsendable = |_| failed("no header can carry the request's path");
            headers.insert(REQUEST_PATH, bytes(&line.path).map_err(unsendable)?);
            headers.insert(REQUEST_METHOD, bytes(line.method.as_str()).map_err(unsendable)?);
        }
        Ok(request)
    }
}

#[async_trait]
impl Verifier for Endpoint {
    async fn verify(&self, query: &Query) -> Result<Said, CannotTell> {
        let sent = authority_call::send(&self.profile, self.request(query)?).await;
        let response = sent.map_err(|error| CannotTell::failed(&self.url.name, error))?;
        match &self.signed {
            Some(signed) => signed.read(&self.url.name, &response).await,
            None => response::read(&self.url.name, &response),
        }
    }
}
