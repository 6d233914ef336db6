//! How the gateway authenticates to an authority: one of the methods of OAuth clients (RFC 6749 §2.3.1, RFC 7523
//! §2.2, RFC 8705 §2), or a value that the operator knows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::Serializer;
use http::HeaderValue;
use openssl::error::ErrorStack;
use tollgate_plugin::Secret;

use crate::client_assertion::{self, ClientAssertion};

/// A method, with what it needs.
pub enum ClientAuthentication {
    /// The value of the `Authorization` header, as configured (`authorization_value`).
    Value(HeaderValue),
    /// The client's id and secret in the form (`client_secret_post`).
    Form {
        /// Its id.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
    /// A signed token in the form (`private_key_jwt`).
    Assertion(Box<ClientAssertion>),
    /// The client certificate of the connection; the form only names the client (`tls_client_auth`).
    Certificate {
        /// Its id.
        client_id: String,
    },
}

impl ClientAuthentication {
    /// The client's id and secret in the `Authorization` header (`client_secret_basic`): each is encoded as in forms,
    /// so that they may contain colons. `None`: not valid in a header, which no encoded text is.
    pub fn basic(client_id: &str, client_secret: &str) -> Option<Self> {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(client_id), encode(client_secret));
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok().map(Self::value)
    }

    /// A configured header value.
    pub fn value(mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self::Value(value)
    }

    /// The value of the `Authorization` header.
    pub fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Value(value) => Some(value),
            Self::Form { .. } | Self::Assertion(_) | Self::Certificate { .. } => None,
        }
    }

    /// Adds what belongs into the form.
    ///
    /// # Errors
    /// An assertion cannot be signed.
    pub fn write(&self, form: &mut Serializer<'_, String>) -> Result<(), ErrorStack> {
        match self {
            Self::Value(_) => {}
            Self::Form { client_id, client_secret } => {
                form.append_pair("client_id", client_id).append_pair("client_secret", client_secret.expose());
            }
            Self::Assertion(assertion) => {
                form.append_pair("client_id", &assertion.client_id)
                    .append_pair("client_assertion_type", client_assertion::TYPE)
                    .append_pair("client_assertion", assertion.sign()?.expose());
            }
            Self::Certificate { client_id } => drop(form.append_pair("client_id", client_id)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form_of(method: &ClientAuthentication) -> String {
        let mut form = Serializer::new(String::new());
        method.write(&mut form).unwrap();
        form.finish()
    }

    #[test]
    fn basic_credentials_are_encoded_before_they_are_joined_rfc6749_2_3_1() {
        let method = ClientAuthentication::basic("gate:way", "s e+cret/ü").unwrap();
        let header = method.header().unwrap();
        assert!(header.is_sensitive(), "not shown in debug output");
        let pair = STANDARD.decode(header.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(pair).unwrap(), "gate%3Away:s+e%2Bcret%2F%C3%BC");
        assert_eq!(form_of(&method), "");
    }

    #[test]
    fn the_form_has_what_the_method_needs() {
        let secret = Secret::new("s&1");
        let method = ClientAuthentication::Form { client_id: "gateway".to_owned(), client_secret: secret };
        assert_eq!((form_of(&method), method.header()), ("client_id=gateway&client_secret=s%261".to_owned(), None));
        let method = ClientAuthentication::Certificate { client_id: "gateway".to_owned() };
        assert_eq!((form_of(&method), method.header()), ("client_id=gateway".to_owned(), None));
    }
}
