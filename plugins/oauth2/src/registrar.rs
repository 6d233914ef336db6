//! Clients that register themselves: their credentials, which are entities as any other, and the rows that say who may
//! change them (RFC 7591, RFC 7592).
//!
//! 1. The row is added first: it is what the quotas count. One transaction counts and adds.
//! 2. Then the credential, with the id that the row has. If that fails, the row is deleted.
//! 3. A client that has been there for its time and has no token is deleted, and its row with it; so is a row whose
//!    credential was never added.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tollgate_core::clock::Clock;
use tollgate_core::collection::{Collection, Document, Key};
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::network;
use tollgate_core::random::Random;
use tollgate_core::schema::{Makers, Schema, Violations};
use tollgate_core::secret::Secret;
use tollgate_plugin::Consumers;
use uuid::Uuid;

use crate::client_metadata::ClientMetadata;
use crate::config::Config;
use crate::entity::credential;
use crate::entity::registered::{ALWAYS, Method};
use crate::error::{Error, Refusal};
use crate::profile::Name;
use crate::store::Outcome;
use crate::store::registrations::{self, Registration, Registrations};
use crate::token::{Digest, OwnTokens};

/// The tag of registered clients' credentials.
const TAG: &str = "registered";
const DAY: i64 = 86_400;
/// The time between two searches for unused clients.
const PAUSE: Duration = Duration::from_secs(600);
/// How many are deleted at once.
const BATCH: i64 = 100;

/// What every credential of a client that registers itself has to be. The instance has judged its redirect URIs, so that
/// what the node says of credentials that belong to no instance does not matter.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| credential::kind(Name::Bcp).schema);

/// Registers clients, for all plugin instances of a node.
pub struct Registrar {
    /// The registrations.
    pub rows: Arc<dyn Registrations>,
    /// The clients' credentials.
    pub credentials: Arc<dyn Collection>,
    /// The consumers.
    pub consumers: Consumers,
    /// The format of registration access tokens.
    pub own_tokens: OwnTokens,
    /// The key of the digests of networks.
    pub network_key: [u8; 32],
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
}

/// A new client: shown once.
pub struct Registered {
    /// Its credential.
    pub credential_id: Uuid,
    /// Its public id.
    pub client_id: String,
    /// Its secret, unless it is public.
    pub client_secret: Option<Secret>,
    /// With it the client reads, changes and deletes its registration.
    pub access_token: Secret,
    /// When it was registered, in Unix seconds.
    pub issued_at: i64,
    /// What it has registered.
    pub metadata: Map<String, Value>,
}

/// A client that has presented its registration access token.
pub struct Known {
    /// Its credential.
    pub credential_id: Uuid,
    /// Its public id.
    pub client_id: String,
    /// When it was registered, in Unix seconds.
    pub issued_at: i64,
    /// What it has registered.
    pub metadata: Map<String, Value>,
}

impl Registrar {
    /// Registers a client.
    ///
    /// # Errors
    /// The quota is used up, the metadata are refused, or something failed.
    pub async fn register(
        &self,
        config: &Config,
        plugin_id: Uuid,
        address: IpAddr,
        metadata: &ClientMetadata,
    ) -> Result<Registered, Error> {
        let name = config.grants.registration_consumer.as_deref().unwrap_or_default();
        let consumer = self.consumers.anonymous(name).await?.ok_or(Error::NoConsumer)?;
        let (now, quota) = (self.clock.now(), config.grants.registration_quota.unwrap_or_default());
        let access_token = self.own_tokens.mint(self.random.as_ref());
        let registered = Registered {
            credential_id: self.random.uuid(),
            client_id: self.random.alphanumeric(32),
            client_secret: metadata.auth_method.has_secret().then(|| Secret::new(self.random.alphanumeric(32))),
            issued_at: now,
            metadata: metadata.document(),
            access_token,
        };
        let row = Registration {
            credential_id: registered.credential_id,
            plugin_id,
            access_token: Digest::of(registered.access_token.expose()),
            network: self.network(address),
            metadata: Value::Object(registered.metadata.clone()).to_string(),
            created_at: now,
            unused_after: now.saturating_add(quota.unused_for.into()),
        };
        let quota = registrations::Quota {
            total: quota.total.into(),
            per_network: quota.per_address.into(),
            since: now.saturating_sub(DAY),
        };
        if self.rows.insert_registration(row, quota).await? == Outcome::Lost {
            return Err(Refusal::RegistrationQuota.into());
        }
        // Only what the quotas admit costs more.
        let added = async {
            let document = self.document(&registered, consumer.id, metadata).await?;
            self.credentials.insert(document).await.map(drop).map_err(failed)
        };
        match added.await {
            Ok(()) => Ok(registered),
            Err(error) => {
                self.rows.delete_registration(registered.credential_id).await?;
                Err(error)
            }
        }
    }

    /// The client, if the registration access token is its own. `presented`: the token.
    ///
    /// # Errors
    /// It is not.
    pub async fn known(&self, plugin_id: Uuid, client_id: &str, presented: &str) -> Result<Known, Error> {
        let refused = || Error::from(Refusal::RegistrationAccessToken);
        let key = Key::Unique { field: "client_id", value: client_id.to_owned() };
        let credential = self.credentials.find(&key).await?;
        let credential_id = credential.and_then(|credential| credential.id()).ok_or_else(refused)?;
        let row = self.rows.find_registration(credential_id).await?.ok_or_else(refused)?;
        // Both are digests: how long the comparison takes tells nothing of the token.
        if row.access_token != Digest::of(presented) || row.plugin_id != plugin_id {
            return Err(refused());
        }
        let corrupt = |_| StoreError::Corrupt { kind: "oauth2_registrations", what: "metadata" };
        let metadata = serde_json::from_str(&row.metadata).map_err(corrupt)?;
        Ok(Known { credential_id, client_id: client_id.to_owned(), issued_at: row.created_at, metadata })
    }

    /// Replaces what a client has registered (RFC 7592 §2.2).
    ///
    /// # Errors
    /// The metadata are refused, or the client is gone.
    pub async fn change(&self, known: &Known, metadata: &ClientMetadata) -> Result<Known, Error> {
        let document = metadata.document();
        let before = known.metadata.get("token_endpoint_auth_method").and_then(Value::as_str).and_then(Method::named);
        let class = |method: Method| (method == Method::None, method.has_secret());
        if before.map(class) != Some(class(metadata.auth_method)) {
            let text = "token_endpoint_auth_method must not change between none, secrets and keys; register anew";
            return Err(Refusal::ClientMetadata(text.to_owned()).into());
        }
        let merge = |stored: &Document| {
            let makers = Makers { clock: self.clock.as_ref(), random: self.random.as_ref() };
            SCHEMA.process_update(stored, self.fields(&known.client_id, metadata), &makers)
        };
        let changed = self.credentials.update(&Key::Id(known.credential_id), &merge).await.map_err(failed)?;
        changed.ok_or(Refusal::RegistrationAccessToken)?;
        let text = Value::Object(document.clone()).to_string();
        if self.rows.update_registration(known.credential_id, text).await? == Outcome::Lost {
            return Err(Refusal::RegistrationAccessToken.into());
        }
        let Known { credential_id, client_id, issued_at, .. } = known;
        Ok(Known {
            credential_id: *credential_id,
            client_id: client_id.clone(),
            issued_at: *issued_at,
            metadata: document,
        })
    }

    /// Deletes a client with its tokens (RFC 7592 §2.3).
    ///
    /// # Errors
    /// The store failed.
    pub async fn delete(&self, known: &Known) -> Result<(), Error> {
        self.credentials.delete(&Key::Id(known.credential_id)).await.map_err(failed)?;
        Ok(())
    }

    /// Deletes unused clients until the process ends. Every node does: deleting one again does no harm.
    pub async fn keep_deleting_unused(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.delete_unused().await {
                Ok(0) => {}
                Ok(deleted) => tracing::info!(deleted, "deleted registered clients that have no token"),
                Err(error) if error.is_reported() => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot delete unused registered clients");
                }
            }
        }
    }

    /// Deletes some unused clients: how many.
    ///
    /// # Errors
    /// The store failed.
    pub async fn delete_unused(&self) -> Result<usize, StoreError> {
        let unused = self.rows.find_unused(self.clock.now(), BATCH).await?;
        for credential_id in &unused {
            match self.credentials.delete(&Key::Id(*credential_id)).await {
                Ok(_) => self.rows.delete_registration(*credential_id).await?,
                Err(DaoError::Store(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(unused.len())
    }

    /// The credential to be added. Hashing the secret takes milliseconds: not for I/O threads.
    async fn document(
        &self,
        registered: &Registered,
        consumer: Uuid,
        metadata: &ClientMetadata,
    ) -> Result<Document, Error> {
        let mut fields = self.fields(&registered.client_id, metadata);
        let mut add = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        add("id", json!(registered.credential_id));
        add("consumer", json!({ "id": consumer }));
        add("client_id", json!(registered.client_id));
        add("tags", json!([TAG]));
        add("client_type", json!(if metadata.auth_method == Method::None { "public" } else { "confidential" }));
        add("client_secret", json!(registered.client_secret.as_ref().map(Secret::expose)));
        add("hash_secret", json!(registered.client_secret.is_some()));
        let (clock, random) = (Arc::clone(&self.clock), Arc::clone(&self.random));
        let insert = move || {
            let makers = Makers { clock: clock.as_ref(), random: random.as_ref() };
            SCHEMA.process_insert(fields, &makers)
        };
        let made = tokio::task::spawn_blocking(insert).await;
        let made = made.map_err(|_| StoreError::Unavailable("hashing a secret was interrupted".into()))?;
        Ok(made.map_err(refused)?)
    }

    /// What a credential has of the metadata.
    fn fields(&self, client_id: &str, metadata: &ClientMetadata) -> Document {
        let name = metadata.name.as_deref().unwrap_or(client_id);
        let scopes = metadata.scope.as_deref().map(|scope| scope.split(' ').collect::<Vec<_>>());
        let redirect_uris = Some(&metadata.redirect_uris).filter(|uris| !uris.is_empty());
        // A secret may be sent in either way; keys and certificates are the client's only one.
        let method = Some(metadata.auth_method).filter(|method| !method.has_secret() && *method != Method::None);
        let identity = &metadata.identity;
        let always = ALWAYS.map(|name| (name, json!(metadata.always.contains(&name).then_some(true))));
        let fields = [
            ("name", json!(name)),
            ("redirect_uris", json!(redirect_uris)),
            ("grant_types", json!(metadata.grant_types)),
            ("allowed_scopes", json!(scopes)),
            ("token_endpoint_auth_method", json!(method.map(Method::as_str))),
            ("jwks", json!(identity.jwks)),
            ("tls_client_auth_subject_dn", json!(identity.subject)),
            ("tls_client_certificate_thumbprint", json!(identity.thumbprint)),
        ];
        fields.into_iter().chain(always).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn network(&self, address: IpAddr) -> Digest {
        let network = network::of(address).to_string();
        Digest(*blake3::keyed_hash(&self.network_key, network.as_bytes()).as_bytes())
    }
}

/// A credential that its schema refuses.
/// Names the fields: how the gateway keeps them is nothing to strangers.
fn refused(violations: Violations) -> Refusal {
    let described = violations.fields.iter().map(|(name, fault)| match fault {
        Value::String(text) => format!("{name}: {text}"),
        _ => format!("{name} cannot be registered"),
    });
    let text = described.collect::<Vec<_>>().join("; ");
    if violations.has("redirect_uris") { Refusal::RedirectUriMetadata(text) } else { Refusal::ClientMetadata(text) }
}

fn failed(error: DaoError) -> Error {
    match error {
        DaoError::Store(error) => error.into(),
        DaoError::Schema(violations) => refused(violations).into(),
        DaoError::ForeignMissing { .. } => Error::NoConsumer,
        other => StoreError::Unavailable(other.to_string().into()).into(),
    }
}
