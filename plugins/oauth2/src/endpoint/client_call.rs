//! A call that a client makes for itself: it authenticates as at the token endpoint, and something is stored for a user
//! to decide about. Each client has a limit from each address, since some clients have no secret.

use tollgate_core::request::Request;
use uuid::Uuid;

use crate::client::AuthenticatedClient;
use crate::config::Config;
use crate::endpoint::record::Subject;
use crate::endpoint::{AuthorizationServer, Outcome, authenticated, count_authentication};
use crate::error::{Error, Refusal};
use crate::grant::Grantor;
use crate::guesses::Kind;
use crate::parameters::Parameters;
use crate::sender;

/// One call.
pub(super) struct ClientCall<'a> {
    pub(super) server: &'a AuthorizationServer,
    pub(super) plugin_id: Uuid,
    pub(super) config: &'a Config,
    pub(super) request: &'a Request<'a>,
    /// Its name in metrics and in the audit log.
    pub(super) name: &'static str,
}

impl<'a> ClientCall<'a> {
    pub(super) fn grantor(&self) -> Grantor<'a> {
        let server = self.server;
        Grantor::new(&server.issuer, &server.guesses, self.plugin_id, self.config, self.request)
    }

    /// The client, and the credential that was named even if it is not.
    pub(super) async fn authenticate(
        &self,
        parameters: &Parameters,
    ) -> (Option<Uuid>, Result<AuthenticatedClient, Error>) {
        let (named, client) = authenticated(self.server, self.config, self.request, parameters).await;
        (named, client.and_then(|client| Ok(self.admit(client, parameters)?)))
    }

    /// With what the client announces or proves of its key, or its certificate (RFC 9449 §10.1).
    pub(super) async fn proving(&self, parameters: &Parameters) -> Result<Grantor<'a>, Error> {
        let mut grantor = self.grantor();
        let proofs = &self.server.proofs;
        grantor.proved =
            sender::announced_or_proved(proofs, self.config, parameters, self.request, grantor.now).await?;
        Ok(grantor)
    }

    /// Counts what profile `bcp` would have refused of a call that is accepted.
    pub(super) fn note(&self, grantor: &Grantor<'_>, client: &AuthenticatedClient, parameters: &Parameters) {
        count_authentication(grantor, parameters, self.request);
        self.server.note(grantor, Some(client.credential().id));
    }

    fn admit(&self, client: AuthenticatedClient, parameters: &Parameters) -> Result<AuthenticatedClient, Refusal> {
        let client_id = &client.credential().client_id;
        // RFC 9126 §2.1: the request is that of the client that has authenticated.
        if parameters.get("client_id").is_some_and(|named| named.text() != Some(client_id)) {
            return Err(Refusal::OtherClient);
        }
        self.server.waiting_limit.attempt(Kind::Client, client_id, self.request.client).count()?;
        Ok(client)
    }

    /// Counts the call, and writes a refusal to the audit log.
    pub(super) fn record<T>(&self, credential: Option<Uuid>, result: &Result<T, Error>) {
        let server = self.server;
        server.count(self.name, result.as_ref().err().map_or(Outcome::Issued, Outcome::from));
        let subject = Subject { plugin: self.plugin_id, credential, grant: self.name, request: self.request };
        let event = result.as_ref().err().and_then(|error| subject.refused(error));
        event.iter().for_each(|event| server.audit_log.write(event));
    }
}
