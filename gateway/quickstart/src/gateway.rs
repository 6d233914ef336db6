//! The gateway as its clients see it: three addresses and a certificate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client};
use url::Url;

/// Where a running gateway listens, and how its certificate is verified.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The proxy, over TLS: `https://127.0.0.1:8443/`.
    pub proxy: Url,
    /// The Admin API: `http://127.0.0.1:8001/`.
    pub admin: Url,
    /// Status and metrics: `http://127.0.0.1:8007/`.
    pub status: Url,
    /// The proxy's self-signed certificate, in PEM.
    pub certificate: Vec<u8>,
}

/// Why the gateway cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP client could not be created.
    #[error("cannot create an HTTP client")]
    Client(#[source] reqwest::Error),
    /// It did not become ready.
    #[error("the gateway was not ready within {0:?}")]
    NotReady(Duration),
    /// An address is invalid.
    #[error("invalid address: {0}")]
    Address(String, #[source] url::ParseError),
}

impl Gateway {
    /// A gateway that listens on these addresses.
    pub fn on(proxy: SocketAddr, admin: SocketAddr, status: SocketAddr, certificate: Vec<u8>) -> Result<Self, Error> {
        Ok(Self { proxy: url("https", proxy)?, admin: url("http", admin)?, status: url("http", status)?, certificate })
    }

    /// The address of its console.
    pub fn console(&self) -> Url {
        self.at(&self.admin, "ui")
    }

    /// A client that trusts this gateway's certificate. It follows no redirects, since following them would
    /// send codes wherever they point.
    pub fn client(&self) -> Result<Client, Error> {
        let certificate = Certificate::from_pem(&self.certificate).map_err(Error::Client)?;
        Client::builder()
            .no_proxy()
            .tls_certs_only([certificate])
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(15))
            .build()
            .map_err(Error::Client)
    }

    /// Waits until the gateway reports that it is ready.
    pub async fn ready_within(&self, limit: Duration) -> Result<(), Error> {
        let client = self.client()?;
        let address = self.at(&self.status, "status/ready");
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let response = client.get(address.clone()).send().await;
            if response.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Error::NotReady(limit))
    }

    /// A path below the proxy, such as `stepon/oauth2/token`.
    pub fn proxied(&self, path: &str) -> Url {
        self.at(&self.proxy, path)
    }

    fn at(&self, base: &Url, path: &str) -> Url {
        let mut url = base.clone();
        url.set_path(path);
        url
    }
}

fn url(scheme: &str, address: SocketAddr) -> Result<Url, Error> {
    let text = format!("{scheme}://{address}/");
    Url::parse(&text).map_err(|error| Error::Address(text, error))
}
