//! Shoe Fly Shoe: a store that gives a discount for steps. An OAuth2 client like any other.

mod connection;
mod flow;
mod pages;
mod storefront;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use url::Url;

use crate::browser_session::{Sessions, Transport};
use crate::gateway::Gateway;
use crate::page;
use crate::site::Site;
use crate::tutorial::Error;

use connection::StepOnApi;
use storefront::Store;

/// The store's settings.
pub struct Settings {
    /// The gateway in front of Step On's API.
    pub gateway: Gateway,
    /// Step On itself, for the page that shows its requests.
    pub step_on: Url,
    /// Where the browser is redirected with the code.
    pub redirect_uri: Url,
    /// Where the store gets its tokens.
    pub authorization_server: AuthorizationServer,
}

/// An authorization server, as its client knows it.
pub struct AuthorizationServer {
    /// What the store's pages call it.
    pub name: &'static str,
    /// What it does between steps A and C of RFC 6749 §4.1.
    pub consent: &'static str,
    /// Where the browser is sent.
    pub authorization: Url,
    /// Where codes and refresh tokens are redeemed.
    pub token: Url,
    /// How the store has its access token revoked, if it may.
    pub revocation: Option<Revocation>,
    /// The store's client id.
    pub client_id: String,
    /// The store's client secret.
    pub client_secret: String,
}

/// Revocation (RFC 7009).
pub struct Revocation {
    /// Where tokens are revoked.
    pub endpoint: Url,
    /// How long the gateway accepts a token after that.
    pub in_force_within: Duration,
}

/// The running store. It stops when this is dropped.
#[derive(Debug)]
pub struct ShoeStore {
    site: Site,
}

impl ShoeStore {
    /// Starts it.
    pub fn start(listener: TcpListener, settings: Settings) -> Result<Self, Error> {
        let mut requests = settings.step_on;
        requests.set_path("/requests");
        let store = Store {
            api: StepOnApi {
                client: settings.gateway.client()?,
                authorization_server: settings.authorization_server,
                step_counts: settings.gateway.proxied("stepon/stepcounts"),
                redirect_uri: settings.redirect_uri,
            },
            requests,
            sessions: Sessions::new("shoeflyshoe", Transport::Loopback),
        };
        let routes = Router::new()
            .route("/", get(storefront::show))
            .route("/connect", get(storefront::connect))
            .route("/callback", get(storefront::callback))
            .route("/refresh", post(storefront::refresh))
            .route("/revoke", post(storefront::revoke))
            .route("/flow", get(storefront::happened))
            .route("/style.css", get(page::style))
            .with_state(Arc::new(store));
        Ok(Self { site: Site::plain(listener, routes)? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.site.address()
    }

    /// The address to open in a browser.
    pub fn url(&self) -> String {
        format!("http://{}/", self.site.address())
    }
}
