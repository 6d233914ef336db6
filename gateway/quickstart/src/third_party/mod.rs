//! The tutorial's second half: tokens of somebody else's authorization server.
//!
//! 1. The store sends the browser to the third party, which asks the user and issues the tokens. Neither the
//!    gateway nor Step On takes part.
//! 2. The store reads the step counts through the gateway with such a token. The gateway introspects it at the
//!    third party (RFC 7662), with credentials of its own, and tells Step On who the user and the client are.
//! 3. The store has the token revoked at the third party (RFC 7009). The gateway refuses it once the response that
//!    it has cached is older than `ttl`.

mod server;
mod setup;

use url::Url;

use crate::gateway::Gateway;
use crate::operator::{Call, Operator};
use crate::shoe_store::{self, AuthorizationServer, Revocation, ShoeStore};
use crate::step_on::{self, StepOn};
use crate::tutorial::{Addresses, Error, address, listen};

pub use server::{Installed, NotStarted};

use server::Server;

/// Both running sites and the third party's server. They stop when this is dropped.
pub struct ThirdPartyTutorial {
    /// The API.
    pub step_on: StepOn,
    /// The store.
    pub shoe_store: ShoeStore,
    server: Server,
}

impl ThirdPartyTutorial {
    /// Starts the third party's server, configures the gateway and starts both sites. `narrate` is called with
    /// every Admin call, `log` with the identity of each request to the API.
    ///
    /// # Errors
    /// Something does not start, or the gateway cannot be configured.
    pub async fn start(
        gateway: &Gateway,
        addresses: Addresses,
        third_party: &Installed,
        narrate: &mut (dyn FnMut(&Call) + Send),
        log: step_on::Log,
    ) -> Result<Self, Error> {
        let (step_on, step_on_address) = listen(addresses.step_on)?;
        let (shoe_store, shoe_store_address) = listen(addresses.shoe_store)?;
        let redirect_uri = address(&format!("http://{shoe_store_address}/callback"))?;
        let http = gateway.client()?;
        let server = Server::start(third_party, &redirect_uri, &http).await?;

        let mut operator = Operator::new(http, gateway.admin.clone(), narrate);
        setup::configure(&mut operator, step_on_address, &server).await?;
        let consent = step_on::Consent::ThirdParty;
        let step_on = StepOn::start(step_on, step_on::Settings { consent, log })?;
        let settings = shoe_store::Settings {
            gateway: gateway.clone(),
            step_on: address(&format!("https://{step_on_address}/"))?,
            redirect_uri,
            authorization_server: as_the_store_knows_it(&server),
        };
        Ok(Self { step_on, shoe_store: ShoeStore::start(shoe_store, settings)?, server })
    }

    /// The third party's issuer identifier.
    pub fn issuer(&self) -> &Url {
        &self.server.metadata.issuer
    }
}

fn as_the_store_knows_it(server: &Server) -> AuthorizationServer {
    AuthorizationServer {
        name: "oidc-provider",
        consent: "oidc-provider asks the user (steps B and C)",
        authorization: server.metadata.authorization_endpoint.clone(),
        token: server.metadata.token_endpoint.clone(),
        revocation: Some(Revocation {
            endpoint: server.metadata.revocation_endpoint.clone(),
            in_force_within: setup::TTL,
        }),
        client_id: server.store.id.to_owned(),
        client_secret: server.store.secret.clone(),
    }
}
