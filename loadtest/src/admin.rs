//! Client of the Admin REST API for provisioning, cleanup and revocation.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde_json::Value;

use crate::connection::{Connection, Keep, Request};
use crate::endpoint::Endpoint;
use crate::failure::Failure;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No response.
    #[error("no response from the Admin API at {authority} to {method} {path}: {failure}")]
    NoResponse {
        /// Host and port.
        authority: String,
        /// The method.
        method: Method,
        /// The path, without secrets.
        path: String,
        /// Why.
        failure: Failure,
    },
    /// An unexpected response.
    #[error("the Admin API responded to {method} {path} with {status}: {message}")]
    Refused {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status.
        status: u16,
        /// Its message.
        message: String,
    },
}

/// A client of the Admin API with one connection.
pub struct Admin {
    connection: Connection,
    authority: String,
}

impl Admin {
    /// A client for an address.
    pub fn new(endpoint: &Endpoint) -> Self {
        let authority = endpoint.authority.clone();
        Self { connection: Connection::new(Rc::new(endpoint.clone()), TIMEOUT), authority }
    }

    /// Calls the API. Returns the status and the body as JSON (null if there is none).
    ///
    /// # Errors
    /// If there is no response; every status is a response.
    pub async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value), AdminError> {
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Request {
            method,
            target: path.to_owned(),
            headers: body.is_some().then_some(json).into_iter().collect(),
            body: body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string())),
            keep: Keep::Everything,
        };
        let response = self.connection.send(&request).await.map_err(|failure| AdminError::NoResponse {
            authority: self.authority.clone(),
            method: request.method.clone(),
            path: shown(path),
            failure,
        })?;
        Ok((response.status, serde_json::from_slice(&response.body).unwrap_or(Value::Null)))
    }

    /// Creates an entity and returns it.
    ///
    /// # Errors
    /// If it is not created.
    pub async fn create(&mut self, path: &str, body: &Value) -> Result<Value, AdminError> {
        let (status, document) = self.call(Method::POST, path, Some(body)).await?;
        if status == 201 { Ok(document) } else { Err(refused(Method::POST, path, status, &document)) }
    }

    /// Deletes an entity; does nothing if it does not exist.
    ///
    /// # Errors
    /// If it is not deleted.
    pub async fn delete(&mut self, path: &str) -> Result<(), AdminError> {
        let (status, document) = self.call(Method::DELETE, path, None).await?;
        if matches!(status, 204 | 404) { Ok(()) } else { Err(refused(Method::DELETE, path, status, &document)) }
    }
}

fn refused(method: Method, path: &str, status: u16, document: &Value) -> AdminError {
    let message = document.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
    AdminError::Refused { method, path: shown(path), status, message }
}

/// A path without the token that it may contain.
fn shown(path: &str) -> String {
    match path.strip_prefix("/oauth2_tokens/") {
        Some(_) => "/oauth2_tokens/…".to_owned(),
        None => path.to_owned(),
    }
}
