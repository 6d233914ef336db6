//! Step On: an API that counts steps, and the page on which its users let applications see them.

mod application;
mod authorization_page;
mod request_log;
mod step_counts;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::browser_session::{Sessions, Transport};
use crate::certificate;
use crate::gateway::Gateway;
use crate::page;
use crate::site::Site;
use crate::tutorial::Error;

pub use request_log::Log;
pub(crate) use step_counts::StepCounts;

use application::Applications;
use authorization_page::Context;
use request_log::RequestLog;

/// Step On's settings.
pub struct Settings {
    /// The gateway in front of its API.
    pub gateway: Gateway,
    /// The provision key, by which the gateway authenticates the authorization page.
    pub provision_key: String,
    /// Where the API logs the identity of its requests.
    pub log: Log,
}

/// Step On, running. It stops when this is dropped.
#[derive(Debug)]
pub struct StepOn {
    site: Site,
}

impl StepOn {
    /// Starts it.
    pub fn start(listener: TcpListener, settings: Settings) -> Result<Self, Error> {
        let client = settings.gateway.client()?;
        let context = Context {
            applications: Applications::registered_at(settings.gateway.admin.clone(), client.clone()),
            authorize: settings.gateway.proxied("stepon/oauth2/authorize"),
            provision_key: settings.provision_key,
            client,
            request_log: RequestLog::new(settings.log),
            sessions: Sessions::new("__Host-stepon", Transport::Tls),
        };
        let routes = Router::new()
            .route("/stepcounts", get(step_counts::show))
            .route("/requests", get(request_log::show))
            .route("/authorize", get(authorization_page::ask).post(authorization_page::decide))
            .route("/login", post(authorization_page::log_in))
            .route("/logout", post(authorization_page::log_out))
            .route("/style.css", get(page::style))
            .with_state(Arc::new(context));
        let certificate = certificate::self_signed("Step On")?;
        Ok(Self { site: Site::secure(listener, routes, &certificate)? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.site.address()
    }
}
