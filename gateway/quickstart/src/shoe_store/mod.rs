//! Shoe Fly Shoe: a store that gives a discount for steps. An OAuth2 client like any other.

mod connection;
mod flow;
mod pages;
mod storefront;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

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
    /// Step On itself, for its authorization page.
    pub step_on: Url,
    /// Where Step On redirects the browser.
    pub redirect_uri: Url,
    /// The store's client id.
    pub client_id: String,
    /// The store's client secret.
    pub client_secret: String,
}

/// The running store. It stops when this is dropped.
#[derive(Debug)]
pub struct ShoeStore {
    site: Site,
}

impl ShoeStore {
    /// Starts it.
    pub fn start(listener: TcpListener, settings: Settings) -> Result<Self, Error> {
        let mut authorization_page = settings.step_on;
        authorization_page.set_path("/authorize");
        let store = Store {
            api: StepOnApi {
                client: settings.gateway.client()?,
                authorization_page,
                token: settings.gateway.proxied("stepon/oauth2/token"),
                step_counts: settings.gateway.proxied("stepon/stepcounts"),
                redirect_uri: settings.redirect_uri,
                client_id: settings.client_id,
                client_secret: settings.client_secret,
            },
            sessions: Sessions::new("shoeflyshoe", Transport::Loopback),
        };
        let routes = Router::new()
            .route("/", get(storefront::show))
            .route("/connect", get(storefront::connect))
            .route("/callback", get(storefront::callback))
            .route("/refresh", post(storefront::refresh))
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
