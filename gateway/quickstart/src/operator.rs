//! An operator of the Admin API: one call at a time, each shown as an equivalent curl command.

use std::fmt;

use reqwest::{Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

/// A call and its response.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The address.
    pub url: Url,
    /// The body that was sent, if any.
    pub body: Option<Value>,
    /// The response's status.
    pub status: StatusCode,
    /// The response's body; null if it had none.
    pub response: Value,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ curl -s -X {} {}", self.method, self.url)?;
        if let Some(body) = &self.body {
            write!(f, " \\\n    -H 'Content-Type: application/json' -d {}", quoted(&body.to_string()))?;
        }
        writeln!(f, "\n{}", self.status)?;
        if self.response.is_null() { Ok(()) } else { writeln!(f, "{:#}", self.response) }
    }
}

/// Quotes a text as one shell word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Admin API did not respond.
    #[error("no response from the Admin API to {method} {path}")]
    Unreachable {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The Admin API refused.
    #[error("the Admin API refused: {0}")]
    Refused(Box<Call>),
    /// The response has an unexpected form.
    #[error("unexpected response from the Admin API: {call}")]
    Unexpected {
        /// The call.
        call: Box<Call>,
        /// What is wrong with the response.
        #[source]
        source: serde_json::Error,
    },
    /// The path does not form a valid address.
    #[error("invalid address: {0}")]
    Address(String, #[source] url::ParseError),
}

/// Configures a gateway.
pub struct Operator<'a> {
    client: Client,
    admin: Url,
    narrate: &'a mut (dyn FnMut(&Call) + Send),
}

impl<'a> Operator<'a> {
    /// An operator of the gateway whose Admin API is at `admin`; `narrate` is called with every call.
    pub fn new(client: Client, admin: Url, narrate: &'a mut (dyn FnMut(&Call) + Send)) -> Self {
        Self { client, admin, narrate }
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Error> {
        self.call(Method::GET, path, None).await
    }

    /// Creates or replaces.
    pub async fn put<T: DeserializeOwned>(&mut self, path: &str, body: Value) -> Result<T, Error> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Creates.
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: Value) -> Result<T, Error> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Changes the fields that are given.
    pub async fn patch<T: DeserializeOwned>(&mut self, path: &str, body: Value) -> Result<T, Error> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    async fn call<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<T, Error> {
        let url = self.admin.join(path).map_err(|error| Error::Address(path.to_owned(), error))?;
        let mut request = self.client.request(method.clone(), url.clone());
        if let Some(body) = &body {
            request = request.json(body);
        }
        let unreachable = |source| Error::Unreachable { method: method.clone(), path: path.to_owned(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        let response = serde_json::from_str(&text).unwrap_or(Value::Null);
        let call = Call { method, url, body, status, response };
        (self.narrate)(&call);
        if !status.is_success() {
            return Err(Error::Refused(Box::new(call)));
        }
        serde_json::from_value(call.response.clone())
            .map_err(|source| Error::Unexpected { call: Box::new(call), source })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_shown_as_a_command_that_can_be_pasted() {
        let call = Call {
            method: Method::PUT,
            url: Url::parse("http://127.0.0.1:8001/consumers/bob").unwrap(),
            body: Some(json!({"custom_id": "bob's"})),
            status: StatusCode::OK,
            response: json!({"username": "bob"}),
        };
        let expected = r#"$ curl -s -X PUT http://127.0.0.1:8001/consumers/bob \
    -H 'Content-Type: application/json' -d '{"custom_id":"bob'\''s"}'
200 OK
{
  "username": "bob"
}
"#;
        assert_eq!(call.to_string(), expected);
    }
}
