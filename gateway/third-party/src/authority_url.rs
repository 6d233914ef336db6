//! The URLs under which authorities are called.

use http::Uri;
use tollgate_plugin::http_client::Client;
use url::Url;

/// A URL that can be called.
#[derive(Debug, Clone)]
pub struct AuthorityUrl {
    /// Where calls go.
    pub uri: Uri,
    /// What logs and metrics call it: the URL without its query, which may contain secrets.
    pub name: Box<str>,
}

/// Why a text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not an absolute URL of a scheme that can be called.
    #[error("expected an absolute http or https URL, such as https://issuer.example/path")]
    NotAbsolute,
    /// It contains a username or a password, which logs would show.
    #[error("must not contain credentials")]
    Credentials,
    /// It has a fragment, which is never sent.
    #[error("must not contain a fragment")]
    Fragment,
}

impl AuthorityUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`BadUrl`].
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let mut url = Url::parse(text).map_err(|_| BadUrl::NotAbsolute)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(BadUrl::NotAbsolute);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::Credentials);
        }
        if url.fragment().is_some() {
            return Err(BadUrl::Fragment);
        }
        let uri = url.as_str().parse().map_err(|_| BadUrl::NotAbsolute)?;
        url.set_query(None);
        Ok(Self { uri, name: url.as_str().into() })
    }

    /// Why this gateway never calls it, as far as the URL shows.
    pub fn refused(&self, client: &Client) -> Option<String> {
        client.refuses_literal(&self.uri).map(|refused| refused.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_url_without_the_query() {
        let url = AuthorityUrl::parse("https://Issuer.example:443/introspect?realm=a&key=secret").unwrap();
        assert_eq!(url.uri, "https://issuer.example/introspect?realm=a&key=secret");
        assert_eq!(&*url.name, "https://issuer.example/introspect");
        assert_eq!(AuthorityUrl::parse("http://[::1]:8080").unwrap().uri, "http://[::1]:8080/");
    }

    #[test]
    fn a_url_that_cannot_be_called_is_refused() {
        for (text, error) in [
            ("", BadUrl::NotAbsolute),
            ("/introspect", BadUrl::NotAbsolute),
            ("issuer.example/introspect", BadUrl::NotAbsolute),
            ("ftp://issuer.example/", BadUrl::NotAbsolute),
            ("https://", BadUrl::NotAbsolute),
            ("https://issuer.example:99999/", BadUrl::NotAbsolute),
            ("https://client@issuer.example/", BadUrl::Credentials),
            ("https://client:secret@issuer.example/", BadUrl::Credentials),
            ("https://issuer.example/#top", BadUrl::Fragment),
        ] {
            assert_eq!(AuthorityUrl::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
