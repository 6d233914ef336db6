//! The whole tutorial: both sites, and a gateway configured for them, which issues the tokens.

use std::io;
use std::net::{SocketAddr, TcpListener};

use url::Url;

use crate::gateway::{self, Gateway};
use crate::operator::{self, Call, Operator};
use crate::setup;
use crate::shoe_store::{self, AuthorizationServer, ShoeStore};
use crate::site;
use crate::step_on::{self, StepOn};
use crate::third_party;

/// Where the two sites listen. Port 0 is any free port.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Step On: API and authorization page, HTTPS.
    pub step_on: SocketAddr,
    /// Shoe Fly Shoe, HTTP.
    pub shoe_store: SocketAddr,
}

/// Why the tutorial did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Cannot listen on an address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The gateway cannot be used.
    #[error(transparent)]
    Gateway(#[from] gateway::Error),
    /// The gateway could not be configured.
    #[error("cannot configure the gateway")]
    Setup(#[from] operator::Error),
    /// A site's address is invalid.
    #[error("invalid address: {0}")]
    Address(String, #[source] url::ParseError),
    /// Step On has no certificate.
    #[error(transparent)]
    Certificate(#[from] crate::certificate::Error),
    /// A site did not start.
    #[error("cannot start a site")]
    Site(#[from] site::Error),
    /// The third party's server did not start.
    #[error(transparent)]
    ThirdParty(#[from] third_party::NotStarted),
}

/// Both running sites. They stop when this is dropped.
pub struct Tutorial {
    /// The API and its authorization page.
    pub step_on: StepOn,
    /// The store.
    pub shoe_store: ShoeStore,
    /// The gateway's configuration for the sites.
    pub configured: setup::Configured,
}

impl Tutorial {
    /// Configures the gateway and starts both sites. `narrate` is called with every Admin call, `log` with
    /// the identity of each request to the API.
    pub async fn start(
        gateway: &Gateway,
        addresses: Addresses,
        narrate: &mut (dyn FnMut(&Call) + Send),
        log: step_on::Log,
    ) -> Result<Self, Error> {
        // Both listen before the gateway is configured with their addresses.
        let (step_on, step_on_address) = listen(addresses.step_on)?;
        let (shoe_store, shoe_store_address) = listen(addresses.shoe_store)?;
        let step_on_url = address(&format!("https://{step_on_address}/"))?;
        let mut authorization = step_on_url.clone();
        authorization.set_path("/authorize");
        let redirect_uri = address(&format!("http://{shoe_store_address}/callback"))?;

        let mut operator = Operator::new(gateway.client()?, gateway.admin.clone(), narrate);
        let configured = setup::configure(&mut operator, step_on_address, &redirect_uri).await?;
        let provision_key = configured.provision_key.clone();
        let consent = step_on::Consent::OwnPage { gateway: Box::new(gateway.clone()), provision_key };
        let step_on = StepOn::start(step_on, step_on::Settings { consent, log })?;
        let authorization_server = AuthorizationServer {
            name: "Step On",
            consent: "Step On asks the user, and the gateway for the code (steps B and C)",
            authorization,
            token: gateway.proxied("stepon/oauth2/token"),
            revocation: None,
            client_id: configured.client_id.clone(),
            client_secret: configured.client_secret.clone(),
        };
        let shoe_store = ShoeStore::start(
            shoe_store,
            shoe_store::Settings { gateway: gateway.clone(), step_on: step_on_url, redirect_uri, authorization_server },
        )?;
        Ok(Self { step_on, shoe_store, configured })
    }
}

pub(crate) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

pub(crate) fn address(text: &str) -> Result<Url, Error> {
    Url::parse(text).map_err(|error| Error::Address(text.to_owned(), error))
}
