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
use step_counts::Api;

/// Step On's settings.
pub struct Settings {
    /// Who asks users for their consent.
    pub consent: Consent,
    /// Where the API logs the identity of its requests.
    pub log: Log,
}

/// Who asks users whether an application may see their steps.
pub enum Consent {
    /// Step On itself, on its authorization page. The gateway's `oauth2` plugin issues the tokens.
    OwnPage {
        /// The gateway in front of its API.
        gateway: Box<Gateway>,
        /// The provision key, by which the gateway authenticates the authorization page.
        provision_key: String,
    },
    /// A third party, which issues the tokens too: the gateway introspects them.
    ThirdParty,
}

/// Step On, running. It stops when this is dropped.
#[derive(Debug)]
pub struct StepOn {
    site: Site,
}

impl StepOn {
    /// Starts it.
    pub fn start(listener: TcpListener, settings: Settings) -> Result<Self, Error> {
        let user_header = match settings.consent {
            Consent::OwnPage { .. } => "x-authenticated-userid",
            Consent::ThirdParty => "x-credential-sub",
        };
        let request_log = Arc::new(RequestLog::new(settings.log));
        let api = Api { request_log: Arc::clone(&request_log), user_header };
        let mut routes = Router::new()
            // The address that is printed has something to show.
            .route("/", get(async || page::see_other("/requests")))
            .route("/stepcounts", get(step_counts::show).with_state(api))
            .route("/requests", get(request_log::show).with_state(request_log))
            .route("/style.css", get(page::style));
        if let Consent::OwnPage { gateway, provision_key } = settings.consent {
            routes = routes.merge(authorization_page(&gateway, provision_key)?);
        }
        let certificate = certificate::self_signed("Step On")?;
        Ok(Self { site: Site::secure(listener, routes, &certificate)? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.site.address()
    }
}

fn authorization_page(gateway: &Gateway, provision_key: String) -> Result<Router, Error> {
    let client = gateway.client()?;
    let context = Context {
        applications: Applications::registered_at(gateway.admin.clone(), client.clone()),
        authorize: gateway.proxied("stepon/oauth2/authorize"),
        provision_key,
        client,
        sessions: Sessions::new("__Host-stepon", Transport::Tls),
    };
    Ok(Router::new()
        .route("/authorize", get(authorization_page::ask).post(authorization_page::decide))
        .route("/login", post(authorization_page::log_in))
        .route("/logout", post(authorization_page::log_out))
        .with_state(Arc::new(context)))
}
