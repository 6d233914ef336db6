//! A web site on its own address, which stops when it is dropped.

use std::io;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum_server::Handle;
use axum_server::tls_openssl::{OpenSSLAcceptor, OpenSSLConfig};

use crate::certificate::Certificate;

/// The largest form accepted: a consent with all its parameters.
const MAX_BODY: usize = 16 * 1024;

/// Why a site did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener cannot be used.
    #[error("cannot serve the site")]
    Listen(#[from] io::Error),
    /// The certificate cannot be used.
    #[error("cannot use the site's certificate")]
    Certificate(#[from] openssl::ssl::Error),
}

/// A running site.
#[derive(Debug)]
pub(crate) struct Site {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
}

impl Site {
    /// Serves over HTTP.
    pub(crate) fn plain(listener: TcpListener, routes: Router) -> Result<Self, Error> {
        let (site, service) = Self::on(&listener, routes)?;
        let server = axum_server::from_tcp(listener)?.handle(site.handle.clone());
        tokio::spawn(server.serve(service.into_make_service()));
        Ok(site)
    }

    /// Serves over HTTPS.
    pub(crate) fn secure(listener: TcpListener, routes: Router, certificate: &Certificate) -> Result<Self, Error> {
        let (site, service) = Self::on(&listener, routes)?;
        let acceptor = OpenSSLAcceptor::new(OpenSSLConfig::from_pem(&certificate.certificate, &certificate.key)?);
        let server = axum_server::from_tcp(listener)?.acceptor(acceptor).handle(site.handle.clone());
        tokio::spawn(server.serve(service.into_make_service()));
        Ok(site)
    }

    fn on(listener: &TcpListener, routes: Router) -> Result<(Self, Router), Error> {
        listener.set_nonblocking(true)?;
        let site = Self { address: listener.local_addr()?, handle: Handle::new() };
        Ok((site, routes.layer(DefaultBodyLimit::max(MAX_BODY))))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}
