//! `tollgate check`: everything that would keep the gateway from starting, or from working, all at once.
//!
//! 1. On this machine: the settings, certificates and keys, the database's URL, the folders of logs.
//! 2. On other machines (`--online`): the database and its migrations, the hosts of services, the targets of upstreams,
//!    the authorization servers that plugins call, and the collector of traces.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::Value;
use tokio::net::TcpStream;
use tollgate_core::collection::{Filter, PageQuery};
use tollgate_core::entity::{self, Kind};
use tollgate_core::schema::Document;
use tollgate_core::setting::SettingValues;
use tollgate_store::{Migrations, Options, Store};
use url::Url;

use crate::admin_tls;
use crate::certificate;
use crate::node::outbound_destinations;
use crate::remarks::{self, About};
use crate::settings::{LineDestination, Settings};

/// How long another machine may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How many entities are read at a time.
const PAGE: usize = 1000;

/// How many machines are tried at a time.
const CONCURRENCY: usize = 64;

/// Which machines are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only this one.
    Offline,
    /// The database, services and authorities too.
    Online,
}

/// What is wrong on this machine, each with its setting.
pub fn of_this_machine(settings: &Settings, options: &Options) -> Vec<String> {
    let mut problems = Vec::new();
    if let (Some(_), Some(files)) = (settings.proxy.https_listen, &settings.certificate)
        && let Err(error) = certificate::check(files)
    {
        problems.push(format!("tls.certificate, tls.key: {}", with_causes(&error)));
    }
    if let Some(path) = &settings.client_certificates.authorities
        && let Err(error) = certificate::authorities(path)
    {
        problems.push(format!("tls.client_ca: {}", with_causes(&error)));
    }
    if let Some(tls) = &settings.admin.tls
        && let Err(error) = admin_tls::acceptor(tls, &settings.tls)
    {
        problems.push(format!("admin.tls: {}", with_causes(&error)));
    }
    if let Err(error) = options.check_urls() {
        problems.push(format!("database.url: {}", with_causes(&error)));
    }
    if let Some((host, port)) = collector(settings)
        && let Err(refused) = outbound_destinations(settings).check_literal(&host, port)
    {
        problems.push(format!("tracing.endpoint: {refused}"));
    }
    for (setting, destination) in [("access_log", &settings.access_log), ("audit_log", &settings.audit_log)] {
        if let LineDestination::File(path) = destination
            && let Err(what) = can_be_appended_to(path)
        {
            problems.push(format!("{setting}: {what}"));
        }
    }
    problems
}

/// Host and port of the collector of traces, if there is one.
fn collector(settings: &Settings) -> Option<(String, u16)> {
    let endpoint = &settings.tracing.as_ref()?.endpoint;
    let default = if endpoint.scheme_str() == Some("https") { 443 } else { 80 };
    Some((plain(endpoint.host()?), endpoint.port_u16().unwrap_or(default)))
}

/// A host without the brackets of an IPv6 address.
fn plain(host: &str) -> String {
    host.trim_matches(['[', ']']).to_owned()
}

/// Whether a log file is there, or could be created; nothing is.
fn can_be_appended_to(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if path.exists() {
        let opened = std::fs::OpenOptions::new().append(true).open(path);
        return opened.map(drop).map_err(|error| format!("cannot write {shown}: {error}"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(format!("cannot write {shown}: there is no folder {}", folder.display()));
    }
    let writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    writable.map_err(|error| format!("cannot write {shown}: {}: {error}", folder.display()))
}

/// What is wrong on other machines.
pub async fn of_other_machines(options: Options, settings: &Settings) -> Vec<String> {
    match Migrations::new(&options).status().await {
        Err(error) => return vec![format!("database.url: {}", with_causes(&error))],
        Ok(status) if !status.pending.is_empty() => {
            return vec![
                "database.url: the database lacks migrations: run `tollgate migrate up`, or start with `--migrate`"
                    .to_owned(),
            ];
        }
        Ok(_) => {}
    }
    let mut destinations = match destinations(options).await {
        Ok(destinations) => destinations,
        Err(problem) => return vec![problem],
    };
    destinations.extend(collector(settings).map(|(host, port)| ("tracing.endpoint".to_owned(), host, port)));
    let tries = destinations.into_iter().map(|(what, host, port)| async move {
        match tokio::time::timeout(CONNECT, TcpStream::connect((host.as_str(), port))).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("{what}: cannot connect to {host}:{port}: {error}")),
            Err(_) => Some(format!("{what}: cannot connect to {host}:{port} within {CONNECT:?}")),
        }
    });
    stream::iter(tries).buffered(CONCURRENCY).filter_map(std::future::ready).collect().await
}

/// Whether an embedded database is there: checking it must not create it.
pub fn is_there(options: &Options) -> bool {
    let file = options.url.strip_prefix("sqlite:").map(|path| path.split('?').next().unwrap_or(path));
    file.is_some_and(|path| Path::new(path).exists())
}

/// What plugins have to say of their instances, if the database can be read and is migrated.
pub async fn of_plugins(options: Options, settings: &SettingValues) -> Vec<About> {
    if !Migrations::new(&options).status().await.is_ok_and(|status| status.pending.is_empty()) {
        return Vec::new();
    }
    match Store::open(options).await {
        Ok(store) => remarks::read(&store, settings).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// The servers that the configuration has the gateway call: whose, host and port.
async fn destinations(options: Options) -> Result<BTreeSet<(String, String, u16)>, String> {
    let unreadable = |error: &dyn Error| format!("database.url: cannot read the configuration: {}", with_causes(error));
    let store = Store::open(options).await.map_err(|error| unreadable(&error))?;
    let read = async |kind: Kind| -> Result<Vec<Document>, String> {
        let (collection, mut documents, mut after) = (store.documents(kind.into()), Vec::new(), None);
        loop {
            let page = collection.page(&PageQuery { filter: Filter::All, after, size: PAGE }).await;
            let page = page.map_err(|error| unreadable(&error))?;
            documents.extend(page.documents);
            match page.next {
                None => return Ok(documents),
                next => after = next,
            }
        }
    };
    let upstreams = read(entity::upstream::kind()).await?;
    let upstreams: Vec<&str> = upstreams.iter().filter_map(|upstream| upstream.text("name")).collect();
    let is_upstream = |host: &str| upstreams.iter().any(|name| name.eq_ignore_ascii_case(host));
    let mut found = BTreeSet::new();
    let mut add = |what: String, host: &str, port: u16| {
        found.insert((what, plain(host), port));
    };
    for service in read(entity::service::kind()).await?.iter().filter(|service| is_enabled(service)) {
        let port = service.integer("port").and_then(|port| u16::try_from(port).ok());
        if let (Some(host), Some(port)) = (service.text("host").filter(|host| !is_upstream(host)), port) {
            add(format!("service {}", service.text("name").unwrap_or_default()), host, port);
        }
    }
    let gets_requests = |target: &Document| target.integer("weight") != Some(0);
    for target in read(entity::target::kind()).await?.into_iter().filter(gets_requests) {
        let address = target.text("target").unwrap_or_default();
        if let Some((host, port)) = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
            add(format!("target {address}"), host, port);
        }
    }
    for plugin in read(entity::plugin::kind()).await?.iter().filter(|plugin| is_enabled(plugin)) {
        for url in called(plugin.get("config").unwrap_or(&Value::Null)) {
            if let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) {
                add(format!("plugin {}", plugin.text("name").unwrap_or_default()), host, port);
            }
        }
    }
    Ok(found)
}

fn is_enabled(entity: &Document) -> bool {
    entity.get("enabled").and_then(Value::as_bool) != Some(false)
}

/// The URLs in a plugin's configuration that the gateway itself calls. Others only name something: audiences, login
/// pages, and issuers whose keys are elsewhere.
fn called(config: &Value) -> Vec<Url> {
    match config {
        Value::Array(items) => items.iter().flat_map(called).collect(),
        Value::Object(fields) => {
            let discovers = fields.get("discovery").and_then(Value::as_bool) == Some(true);
            let is_called = |name: &str| match name {
                "introspection_url" | "jwks_uri" => true,
                "issuer" => discovers,
                _ => false,
            };
            let urls_of = |(name, value): (&String, &Value)| match value {
                Value::String(text) if is_called(name) => text.parse().into_iter().collect(),
                value => called(value),
            };
            fields.iter().flat_map(urls_of).collect()
        }
        _ => Vec::new(),
    }
}

/// An error and what led to it, each once.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Layers;

    fn problems(flags: &[&str]) -> Vec<String> {
        let mut layers = Layers::defaults();
        layers.flags(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        let settings = Settings::from_layers(layers).expect("valid settings");
        of_this_machine(&settings, &Options::new(settings.database.url.expose()))
    }

    #[tokio::test]
    async fn what_would_fail_later_is_found_at_once() {
        assert_eq!(problems(&[]), Vec::<String>::new());
        let found = problems(&[
            "access_log=/nowhere/at/all.log",
            "audit_log=/proc/nothing",
            "database.url=postgres://u:p@h:port/d",
            "tls.certificate=/nowhere/a.crt",
            "tls.key=/nowhere/a.key",
        ]);
        let expected = [
            "tls.certificate, tls.key: /nowhere/a.key: No such file or directory (os error 2)",
            "database.url: invalid database URL: invalid connection string: invalid value for option `port`",
            "access_log: cannot write /nowhere/at/all.log: there is no folder /nowhere/at",
        ];
        assert_eq!(found.iter().take(3).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        let of_ssl_mode = problems(&["database.url=postgres://h/d?sslmode=verify"]);
        let told =
            "database.url: the database URL's sslmode must be disable, prefer, require, verify-ca or verify-full";
        assert_eq!(of_ssl_mode, [told]);
        let told = "tracing.endpoint: 169.254.0.1:80 is a link-local address";
        let of_collector = problems(&["tracing.endpoint=http://169.254.0.1/v1/traces"]);
        assert!(of_collector.first().is_some_and(|problem| problem.starts_with(told)), "{of_collector:?}");
        assert_eq!(problems(&["tracing.endpoint=http://127.0.0.1:4318/v1/traces"]), [""; 0]);
    }

    #[test]
    fn only_servers_that_the_gateway_calls_are_tried() {
        let of_a_resource_server = serde_json::json!({
            "introspection_url": "http://h1:81/x", "issuer": "https://named.example", "required_audience": ["https://aud"],
            "authorities": [{"introspection_url": "https://h2", "jwks_uri": "https://h3/keys", "issuer": "https://named"}],
            "issuers": [{"issuer": "https://h4", "discovery": true}, {"issuer": "https://named", "jwks_uri": "https://h5"}],
        });
        let hosts: Vec<_> = called(&of_a_resource_server).iter().map(|url| url.host_str().map(str::to_owned)).collect();
        assert_eq!(hosts, ["h2", "h3", "h1", "h4", "h5"].map(|host| Some(host.to_owned())));
        let of_an_authorization_server = serde_json::json!({
            "issuer": "https://api", "authorization_endpoint": "https://login/authorize", "resources": ["https://api/x"],
        });
        assert_eq!(called(&of_an_authorization_server), []);
    }
}
