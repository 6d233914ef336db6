//! Gateways with few and with many routes, services and consumers.
//!
//! Their entities are added to the store before they start: through the Admin API, every route would be compiled
//! individually.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tollgate_core::clock::SystemClock;
use tollgate_core::collection::{Collection, Document};
use tollgate_core::entity::{Kind, consumer, plugin, route, service};
use tollgate_core::random::{Random as _, SystemRandom};
use tollgate_core::schema::{Makers, Schema};
use tollgate_oauth2::{config, entity::credential};
use tollgate_store::Store;
use uuid::Uuid;

use super::gateway::{AMPLE, settings};
use super::{Ready, Stage};
use crate::database::{Database, Issued, store_options, userid};
use crate::error::{Error, Result};
use crate::load::{Identity, Requests, Tokens};
use crate::program::Tollgate;
use crate::row::Ask;
use crate::site::SCOPE;
use crate::token_list::{TokenList, write_zipf_order};

/// Concurrent writes; the store commits them together.
const TOGETHER: usize = 64;

const MAKERS: Makers<'static> = Makers { clock: &SystemClock, random: &SystemRandom };

/// The number of each entity. A consumer has one credential, a service one plugin.
#[derive(Debug, Clone, Copy)]
struct Size {
    name: &'static str,
    services: usize,
    routes: usize,
    consumers: usize,
}

const FEW: Size = Size { name: "few", services: 10, routes: 10, consumers: 10 };
const MANY: Size = Size { name: "many", services: 1_000, routes: 10_000, consumers: 10_000 };

impl Stage<'_> {
    pub(super) async fn few(&mut self) -> Result<Ready> {
        self.table(FEW).await
    }

    pub(super) async fn many(&mut self) -> Result<Ready> {
        self.table(MANY).await
    }

    async fn table(&mut self, size: Size) -> Result<Ready> {
        let database = Database::Sqlite(self.path().join(format!("{}.db", size.name)));
        let seed = Seed::plant(&database, size, &format!("http://{}", self.upstream.address)).await?;
        let settings = settings(size.name, &database, AMPLE);
        let tollgate = Tollgate::start(self.path(), &self.options.tollgate, &settings, &self.certificate).await?;
        let tokens = TokenList::mint(database.checksum_key().await?, size.consumers);
        database.add_tokens(&tokens, self.path(), |place| seed.issued(place)).await?;
        let list = self.path().join(format!("{}-requests", size.name));
        write_requests(&list, &tokens, size.routes).map_err(Error::system("cannot write a list of requests"))?;
        let order = write_zipf_order(self.path(), &format!("{}-order", size.name), tokens.len())?;
        let identity = Identity::of_own(username(0), client_id(0), userid(0));
        let everyone =
            |order| Requests::bearers("{path}", Tokens { list: list.clone(), order }).known_as(identity.clone());
        self.present_all(&tollgate, &everyone(None), tokens.len()).await?;
        let requests = vec![(Ask::EveryRoute, everyone(Some(order)))];
        Ok(Ready { proxy: tollgate.proxy, status: Some(tollgate.status), requests })
    }
}

fn path(number: usize) -> String {
    format!("/route-{number}")
}

fn username(number: usize) -> String {
    format!("person-{number}")
}

fn client_id(number: usize) -> String {
    format!("client-{number}")
}

/// One line per token: the path of the route at its index, and the token.
fn write_requests(file: &Path, tokens: &TokenList, routes: usize) -> std::io::Result<()> {
    let lines = tokens.iter().enumerate().fold(String::new(), |mut lines, (place, token)| {
        let _ = writeln!(lines, "{}/ {token}", path(place % routes));
        lines
    });
    fs::write(file, lines)
}

/// What was added to the store.
struct Seed {
    services: Vec<Uuid>,
    credentials: Vec<Uuid>,
    routes: usize,
}

impl Seed {
    async fn plant(database: &Database, size: Size, upstream: &str) -> Result<Self> {
        let store = Store::open(store_options(&database.url())).await.map_err(Error::store)?;
        let collection = |kind: Kind| store.documents(Arc::new(kind));
        let (services, routes) = (collection(service::kind()), collection(route::kind()));
        let (consumers, plugins) = (collection(consumer::kind()), collection(plugin::kind()));
        let credentials = collection(credential::kind(tollgate_oauth2::profile::Name::Kong));

        let of_service =
            |number| completed(&services.kind().schema, json!({"name": format!("service-{number}"), "url": upstream}));
        let service_ids = add_all(&services, (0..size.services).map(of_service)).await?;
        let of_route = |number: usize| {
            let service = service_ids.get(number % size.services);
            completed(&routes.kind().schema, json!({"paths": [path(number)], "service": {"id": service}}))
        };
        add_all(&routes, (0..size.routes).map(of_route)).await?;
        add_all(&plugins, service_ids.iter().map(|service| of_plugin(*service))).await?;
        let of_consumer = |number| completed(&consumers.kind().schema, json!({"username": username(number)}));
        let consumer_ids = add_all(&consumers, (0..size.consumers).map(of_consumer)).await?;
        let of_credential = |(number, consumer): (usize, &Uuid)| {
            let fields = json!({"name": "bench", "client_id": client_id(number), "consumer": {"id": consumer}});
            completed(&credentials.kind().schema, fields)
        };
        let credential_ids = add_all(&credentials, consumer_ids.iter().enumerate().map(of_credential)).await?;
        Ok(Self { services: service_ids, credentials: credential_ids, routes: size.routes })
    }

    /// The token at an index is for the service of the route at that index.
    fn issued(&self, place: usize) -> Issued {
        let service = self.services.get(place % self.routes % self.services.len()).copied().unwrap_or_default();
        Issued { credential: self.credentials.get(place).copied().unwrap_or_default(), service }
    }
}

/// A document as the Admin API would store it.
fn completed(schema: &Schema, fields: Value) -> Result<Document> {
    let fields = document(fields)?;
    schema.process_insert(fields, &MAKERS).map_err(|faults| Error::Usage(format!("invalid entity: {faults:?}")))
}

fn of_plugin(service: Uuid) -> Result<Document> {
    let scopes: Vec<_> = SCOPE.split(' ').collect();
    let config = completed(
        &config::schema(tollgate_oauth2::profile::Name::Kong),
        json!({"scopes": scopes, "enable_client_credentials": true}),
    )?;
    let now = MAKERS.clock.now();
    let fields = json!({
        "id": SystemRandom.uuid(), "created_at": now, "updated_at": now, "name": tollgate_oauth2::NAME,
        "instance_name": null, "route": null, "service": {"id": service}, "consumer": null, "config": config,
        "protocols": ["grpc", "grpcs", "http", "https"], "enabled": true, "tags": null,
    });
    document(fields)
}

fn document(fields: Value) -> Result<Document> {
    Document::try_from(fields).map_err(|error| Error::Usage(format!("invalid entity: {error}")))
}

/// Adds all, and returns their ids in the same order.
async fn add_all(
    collection: &Arc<dyn Collection>,
    documents: impl Iterator<Item = Result<Document>>,
) -> Result<Vec<Uuid>> {
    let add = |document: Result<Document>| async {
        let stored = collection.insert(document?).await.map_err(Error::store)?;
        stored.id().ok_or_else(|| Error::Usage("an entity has no id".to_owned()))
    };
    stream::iter(documents).map(add).buffered(TOGETHER).try_collect().await
}
