//! Canaries: every kind of secret passes through a gateway that logs everything it can, and is then searched for
//! wherever the gateway writes. What the contract keeps in clear text is listed here, by name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use http::Method;
use serde_json::json;
use tollgate_tests::postgres::Database;
use tollgate_tests::scenario::{Api, Application, REDIRECT_URI};
use tollgate_tests::{Authority, Gateway, IssuerKey, Reply, Secrets, SigningKey, Upstream};

const PROVISION_KEY: &str = "canary-provision-key";
const CLEAR_SECRET: &str = "canary-clear-client-secret";
const HASHED_SECRET: &str = "canary-hashed-client-secret";
const API_KEY: &str = "canary-api-key-of-kate";
const JWT_SECRET: &str = "canary-secret-of-json-web-tokens";
const INTROSPECTION_SECRET: &str = "canary-secret-at-the-authority";
const DATABASE_PASSWORD: &str = "canary-database-password";
const OPAQUE_TOKEN: &str = "canary-token-of-the-authority";

/// What is stored in clear text, since the contract shows it again, or since the gateway itself presents it
/// (oauth2.md §2.1; docs/operating.md, Backups).
const STORED_IN_CLEAR: [&str; 5] = [PROVISION_KEY, CLEAR_SECRET, API_KEY, JWT_SECRET, INTROSPECTION_SECRET];

/// A private key in PEM, and the lines of it that are searched for.
struct PrivateKey {
    pem: String,
    lines: Vec<String>,
}

impl PrivateKey {
    fn generate() -> Self {
        let pem = IssuerKey::generate("canary", "ES256").private_pem();
        let lines = pem.lines().filter(|line| line.len() >= 40 && !line.starts_with('-')).map(str::to_owned).collect();
        Self { pem, lines }
    }
}

/// Those that the gateway presents to authorities.
struct PrivateKeys {
    /// Of `private_key_jwt`.
    assertion: PrivateKey,
    /// Of its certificate in TLS.
    tls: PrivateKey,
}

impl PrivateKeys {
    fn lines(&self) -> impl Iterator<Item = &String> {
        self.assertion.lines.iter().chain(&self.tls.lines)
    }
}

/// What was seen of the gateway from outside.
#[derive(Default)]
struct Seen(String);

impl Seen {
    /// Keeps a whole response, which must not quote what the request presented.
    fn refusal(&mut self, reply: &Reply) {
        assert!(reply.status >= 400, "{} {}", reply.status, reply.body);
        self.add(reply);
    }

    fn add(&mut self, reply: &Reply) {
        self.0.push_str(&format!("{:?}\n{}\n", reply.headers, reply.body));
    }
}

fn settings<'s>(temporary: &'s str, format: &'s str) -> Vec<(&'s str, &'s str)> {
    vec![
        ("TOLLGATE_LOG_LEVEL", "trace"),
        ("TOLLGATE_LOG_FORMAT", format),
        ("TOLLGATE_ADMIN_AUTH", "tokens"),
        ("TOLLGATE_AUDIT_LOG", "audit.log"),
        ("TMPDIR", temporary),
    ]
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = gateway.request(Method::GET, path);
    gateway.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// Every grant, with what is accepted and what is refused.
async fn tokens(gateway: &Gateway, upstream: &Upstream, seen: &mut Seen) {
    let api = Api::protected(gateway, "api", upstream, json!({"provision_key": PROVISION_KEY})).await;
    let clear = Application::register(gateway, "clear", json!({"client_secret": CLEAR_SECRET})).await;
    let hashed = json!({"client_secret": HASHED_SECRET, "hash_secret": true});
    let hashed = Application::register(gateway, "hashed", hashed).await;
    let issued = api.tokens(gateway, &clear).await;
    let refreshed = api.refresh(gateway, &clear, issued["refresh_token"].as_str().unwrap()).await.expect(200).json();
    let access_token = refreshed["access_token"].as_str().unwrap();
    api.get(gateway, access_token).await.expect(200);
    get(gateway, &format!("/api?access_token={access_token}"), &[]).await.expect(200);
    let of_hashed =
        [("grant_type", "client_credentials"), ("client_id", hashed.id()), ("client_secret", HASHED_SECRET)];
    api.token(gateway, &of_hashed).await.expect(200);
    let password = [
        ("grant_type", "password"),
        ("client_id", clear.id()),
        ("client_secret", CLEAR_SECRET),
        ("provision_key", PROVISION_KEY),
        ("authenticated_userid", "kate"),
        ("username", "kate"),
        ("password", "canary-password-of-kate"),
    ];
    api.token(gateway, &password).await.expect(200);
    let implicit = [
        ("provision_key", PROVISION_KEY),
        ("authenticated_userid", "kate"),
        ("client_id", clear.id()),
        ("response_type", "token"),
    ];
    api.authorize(gateway, &implicit).await.expect(200);

    let code = api.code(gateway, &clear).await;
    api.redeem(gateway, &clear, &code).await.expect(200);
    seen.refusal(&api.redeem(gateway, &clear, &code).await);
    seen.refusal(&api.refresh(gateway, &clear, issued["refresh_token"].as_str().unwrap()).await);
    seen.refusal(&api.get(gateway, issued["access_token"].as_str().unwrap()).await);
    gateway.secrets.add("canary-token-that-is-none");
    seen.refusal(&api.get(gateway, "canary-token-that-is-none").await);
    for (name, value) in [("client_secret", "canary-wrong-secret"), ("code", "canary-wrong-code-of-kate")] {
        let mut form = vec![("grant_type", "authorization_code"), ("client_id", clear.id()), (name, value)];
        form.push(("redirect_uri", REDIRECT_URI));
        seen.refusal(&api.token(gateway, &form).await);
    }
    let wrong = [("provision_key", "canary-wrong-provision-key"), ("client_id", clear.id()), ("response_type", "code")];
    seen.refusal(&api.authorize(gateway, &wrong).await);
}

/// Credentials of the other plugins.
async fn credentials(gateway: &Gateway, upstream: &Upstream, authority: &Authority, seen: &mut Seen) {
    for (name, config) in [
        ("key-auth", json!({})),
        ("jwt", json!({})),
        (
            "oauth2-introspection",
            json!({
                "introspection_url": authority.url(), "auth_method": "client_secret_basic", "client_id": "tollgate",
                "client_secret": INTROSPECTION_SECRET,
            }),
        ),
    ] {
        Api::open(gateway, name, upstream).await;
        gateway.create(&format!("/services/{name}/plugins"), json!({"name": name, "config": config})).await;
    }
    gateway.admin(Method::PUT, "/consumers/kate", json!({"custom_id": "k-1"})).await.expect(200);
    gateway.create("/consumers/kate/key-auth", json!({"key": API_KEY})).await;
    gateway.create("/consumers/kate/jwt", json!({"key": "kate", "secret": JWT_SECRET})).await;
    authority.knows(OPAQUE_TOKEN, json!({"username": "kate", "client_id": "app"}));
    let signed = SigningKey::hmac("HS256", JWT_SECRET.as_bytes()).token(&json!({"iss": "kate"}));
    let forged = SigningKey::hmac("HS256", b"another secret").token(&json!({"iss": "kate", "sub": "mallory"}));
    for secret in [OPAQUE_TOKEN, &signed, &forged, "canary-unknown-api-key", "canary-unknown-opaque-token"] {
        gateway.secrets.add(secret);
    }
    let bearer = |token: &str| format!("Bearer {token}");
    get(gateway, "/key-auth", &[("apikey", API_KEY)]).await.expect(200);
    get(gateway, &format!("/key-auth?apikey={API_KEY}"), &[]).await.expect(200);
    get(gateway, "/jwt", &[("authorization", &bearer(&signed))]).await.expect(200);
    get(gateway, &format!("/jwt?jwt={signed}"), &[]).await.expect(200);
    get(gateway, "/oauth2-introspection", &[("authorization", &bearer(OPAQUE_TOKEN))]).await.expect(200);
    seen.refusal(&get(gateway, "/key-auth", &[("apikey", "canary-unknown-api-key")]).await);
    seen.refusal(&get(gateway, "/jwt", &[("authorization", &bearer(&forged))]).await);
    let unknown = bearer("canary-unknown-opaque-token");
    seen.refusal(&get(gateway, "/oauth2-introspection", &[("authorization", &unknown)]).await);
}

/// Private keys in plugins' configurations: used with success and in vain, shown, and refused.
async fn private_keys(gateway: &Gateway, upstream: &Upstream, authority: &Authority, seen: &mut Seen) -> PrivateKeys {
    let keys = PrivateKeys { assertion: PrivateKey::generate(), tls: PrivateKey::generate() };
    keys.lines().for_each(|line| gateway.secrets.add(line));
    let certificate = certificate_of(&keys.tls.pem);
    let (url, over_tls) = (authority.url(), authority.url().replace("http://", "https://"));
    for (name, config) in [
        (
            "assertion",
            json!({"introspection_url": url, "auth_method": "private_key_jwt", "client_id": "tollgate",
            "issuer": "https://issuer.example", "client_key": keys.assertion.pem}),
        ),
        // The authority speaks no TLS: the call fails.
        (
            "certificate",
            json!({"introspection_url": over_tls, "auth_method": "tls_client_auth", "client_id": "tollgate",
            "tls_client_certificate": certificate, "tls_client_key": keys.tls.pem}),
        ),
    ] {
        Api::open(gateway, name, upstream).await;
        let plugin = json!({"name": "oauth2-introspection", "config": config});
        gateway.create(&format!("/services/{name}/plugins"), plugin).await;
    }
    let bearer = format!("Bearer {OPAQUE_TOKEN}");
    get(gateway, "/assertion", &[("authorization", &bearer)]).await.expect(200);
    let assertion = authority.calls().pop().and_then(|call| call.parameter("client_assertion").map(str::to_owned));
    gateway.secrets.add(&assertion.expect("an assertion"));
    let failed = get(gateway, "/certificate", &[("authorization", &bearer)]).await;
    assert_eq!(failed.status, 503, "{}", failed.body);
    seen.refusal(&failed);
    // A key that is not for that algorithm, and a private key where public ones belong.
    let key = IssuerKey::generate("canary", "ES256");
    let private = key.private_jwk();
    gateway.secrets.add(private["d"].as_str().expect("a private part"));
    let jwks = json!({"keys": [private]}).to_string();
    for (name, config) in [
        (
            "oauth2-introspection",
            json!({"introspection_url": url, "auth_method": "private_key_jwt", "client_id": "c",
            "client_key": keys.assertion.pem, "client_key_algorithm": "RS256"}),
        ),
        ("jwt-access-token", json!({"issuers": [{"issuer": "https://issuer.example", "jwks": jwks}]})),
        ("jwt-access-token", json!({"issuer": "https://issuer.example", "jwks": jwks})),
    ] {
        let refused = gateway.admin(Method::POST, "/plugins", json!({"name": name, "config": config})).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        seen.refusal(&refused);
    }
    keys
}

/// A certificate of this key for itself.
fn certificate_of(pem: &str) -> String {
    let key = openssl::pkey::PKey::private_key_from_pem(pem.as_bytes()).unwrap();
    let mut name = openssl::x509::X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "tollgate").unwrap();
    let name = name.build();
    let mut builder = openssl::x509::X509::builder().unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&openssl::asn1::Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&openssl::asn1::Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

/// Writes that are refused, and what the node shows of itself.
async fn administration(gateway: &Gateway, seen: &mut Seen) {
    // The contract quotes the value that is taken, to the caller who has just sent it (gateway.md §4, code 5).
    let taken = gateway.admin(Method::POST, "/consumers/clear/key-auth", json!({"key": API_KEY})).await.expect(409);
    assert_eq!(gateway.secrets.within(&taken.body), BTreeSet::from([API_KEY.to_owned()]));
    let wrong = json!({"name": "oauth2", "config": {"provision_key": PROVISION_KEY, "token_expiration": "canary"}});
    seen.refusal(&gateway.admin(Method::POST, "/plugins", wrong).await);
    for path in
        ["/", "/status", "/metrics", "/endpoints", "/schemas/oauth2_credentials", "/schemas/plugins/oauth2", "/tags"]
    {
        seen.add(&gateway.admin_get(path).await.expect(200));
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = gateway.addresses.admin.join("/services").unwrap();
    gateway.secrets.add("tga_canary00000000000000000000000000000000000");
    let unknown = client.get(url).header("kong-admin-token", "tga_canary00000000000000000000000000000000000");
    seen.refusal(&Reply::read(unknown.send().await.unwrap()).await);
    for path in ["/metrics", "/status"] {
        let url = gateway.addresses.status.join(path).unwrap();
        seen.add(&Reply::read(client.get(url).send().await.unwrap()).await);
    }
}

/// The text of all files below a folder, but for those with these names. Sockets hold none, and are the owner's.
fn files(folder: &Path, but: &[&str]) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            text.push_str(&files(&entry.path(), but));
        } else if kind.is_socket() {
            assert_eq!(entry.metadata().unwrap().mode() & 0o077, 0, "{name} is open to others");
        } else if !but.iter().any(|known| name.starts_with(known)) {
            text.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap()));
        }
    }
    text
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

async fn no_secret_leaves_the_gateway(mut gateway: Gateway, temporary: &Path) {
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    let mut seen = Seen::default();
    gateway.make_admin_token();
    for secret in [DATABASE_PASSWORD, HASHED_SECRET].iter().chain(&STORED_IN_CLEAR) {
        gateway.secrets.add(secret);
    }
    let level = gateway.admin_get("/debug/node/log-level").await.expect(200).json();
    assert_eq!(level, json!({"message": "log level: trace"}));
    tokens(&gateway, &upstream, &mut seen).await;
    credentials(&gateway, &upstream, &authority, &mut seen).await;
    let keys = private_keys(&gateway, &upstream, &authority, &mut seen).await;
    administration(&gateway, &mut seen).await;

    let secrets: Secrets = gateway.secrets.clone();
    // Responses, metrics and what the node shows; the log and the access log, both on standard output, at level trace.
    assert_eq!(secrets.within(&seen.0), none(), "in responses");
    assert_eq!(secrets.within(&gateway.output()), none(), "in the log");
    // The audit log and other files of the data folder.
    let audit_log = fs::read_to_string(gateway.directory().join("audit.log")).unwrap();
    assert!(audit_log.contains("token_refreshed") && audit_log.contains("client_refused"), "{audit_log}");
    assert_eq!(secrets.within(&files(gateway.directory(), &["tollgate.db"])), none(), "in files");
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0, "temporary files are left");
    // The database, with SQLite's write-ahead log.
    let stored = STORED_IN_CLEAR.iter().map(ToString::to_string).chain(keys.lines().cloned());
    let expected: BTreeSet<String> = stored.collect();
    let mut at_rest = secrets.within(&gateway.at_rest());
    // What the Admin API shows of a hashed secret is its hash.
    at_rest.retain(|secret| !secret.starts_with("$pbkdf2"));
    assert_eq!(at_rest, expected, "in the database");
    // No core dump is written.
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.process_id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    assert!(secrets.count() > 25, "{} secrets were searched for", secrets.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_the_gateway_on_sqlite() {
    let temporary = tempfile::tempdir().unwrap();
    let settings = settings(temporary.path().to_str().unwrap(), "human");
    let gateway = Gateway::on(tollgate_tests::Store::Sqlite, &settings).await;
    no_secret_leaves_the_gateway(gateway, temporary.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_the_gateway_on_postgres() {
    let temporary = tempfile::tempdir().unwrap();
    let settings = settings(temporary.path().to_str().unwrap(), "json");
    let database = Database::create();
    let mut url = url::Url::parse(&database.url()).unwrap();
    url.set_password(Some(DATABASE_PASSWORD)).unwrap();
    let gateway = Gateway::on_database(database, url.as_str(), &settings).await;
    no_secret_leaves_the_gateway(gateway, temporary.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_reported_without_its_password() {
    let url = format!("postgres://tollgate:{DATABASE_PASSWORD}@127.0.0.1:1/tollgate");
    let node = tollgate_tests::Node::on_database(url);
    for arguments in [&["run"][..], &["migrate", "status"], &["admin-token", "list"], &["check"]] {
        let ended = node.run(&[arguments, &["--set", "log.level=trace"]].concat()).await;
        assert!(ended.code == Some(i32::from(arguments != ["check"])), "{arguments:?}: {ended:?}");
        assert!(!ended.output.contains(DATABASE_PASSWORD), "{arguments:?}: {}", ended.output);
    }
    let malformed = node.run(&["check", "--set", &format!("database.url=mysql://u:{DATABASE_PASSWORD}@h/d")]).await;
    assert!(malformed.code == Some(1) && !malformed.output.contains(DATABASE_PASSWORD), "{malformed:?}");
}
