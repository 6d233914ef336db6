//! What `tollgate check` and `tollgate run` say of settings, files and machines with which no gateway can work.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use openssl::symm::Cipher;
use serde_json::json;
use tollgate_tests::node::{Ended, Node};
use tollgate_tests::postgres::Database;
use tollgate_tests::scenario::Api;
use tollgate_tests::target::refusing;
use tollgate_tests::tls::Identity;
use tollgate_tests::{Findings, Gateway, PostgresServer, Upstream};

/// Runs a command with these settings.
async fn tell(node: &Node, command: &[&str], settings: &[&str]) -> Ended {
    let flags = settings.iter().flat_map(|setting| ["--set", *setting]);
    node.run(&command.iter().copied().chain(flags).collect::<Vec<_>>()).await
}

/// A command that ends with 1 and says this last.
async fn refuses(findings: &mut Findings, node: &Node, command: &[&str], settings: &[&str], expected: &str) {
    let ended = tell(node, command, settings).await;
    let last = ended.output.lines().last().unwrap_or_default();
    findings.compare(&format!("{command:?} {settings:?}"), &json!([1, expected]), &json!([ended.code, last]));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_with_which_nothing_starts_are_refused_by_both_commands() {
    let node = Node::on_sqlite();
    let [(_, http), ..] = node.listeners;
    let (shared, is_shared) = (
        format!("status.listen={http}"),
        format!("tollgate: --set: status.listen: status.listen and proxy.http_listen are both {http}"),
    );
    let rows = [
        (vec![shared.as_str()], is_shared.as_str()),
        (
            vec!["proxy.http_listen=off", "proxy.https_listen=off"],
            "tollgate: --set: proxy.http_listen: proxy.http_listen and proxy.https_listen are both off: requests \
             could not come in",
        ),
        (
            vec!["database.acquire_timeout=0s"],
            "tollgate: --set: database.acquire_timeout: must be above 0, such as 500ms, 60s, 5m or 1h",
        ),
    ];
    let mut findings = Findings::new();
    for (settings, expected) in rows {
        for command in ["check", "run"] {
            refuses(&mut findings, &node, &[command], &settings, expected).await;
        }
    }
    let of_url = [
        (
            "postgres://h/d?sslmode=verify",
            "the database URL's sslmode must be disable, prefer, require, verify-ca or verify-full",
        ),
        ("postgres://h:port/d", "invalid database URL: invalid connection string: invalid value for option `port`"),
    ];
    for (url, what) in of_url {
        let setting = format!("database.url={url}");
        refuses(&mut findings, &node, &["check"], &[&setting], &format!("tollgate: database.url: {what}")).await;
        refuses(&mut findings, &node, &["run"], &[&setting], &format!("tollgate: cannot open the database: {what}"))
            .await;
    }
    let log = "access_log=/nowhere/at/all.log";
    let expected = "tollgate: access_log: cannot write /nowhere/at/all.log: ";
    let check = format!("{expected}there is no folder /nowhere/at");
    refuses(&mut findings, &node, &["check"], &[log], &check).await;
    refuses(&mut findings, &node, &["run"], &[log], &format!("{expected}No such file or directory (os error 2)")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_used_is_named_with_its_file_and_the_reason() {
    let node = Node::on_sqlite();
    let path = |name: &str| node.directory().join(name).display().to_string();
    let (ours, others) = (Identity::issue(&[("CN", "ours")], None), Identity::issue(&[("CN", "others")], None));
    let put = |name: &str, text: &[u8], mode: u32| {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    put("a.crt", &ours.certificate.to_pem().unwrap(), 0o644);
    put("ours.key", &ours.key_pem(), 0o600);
    put("others.key", &others.key_pem(), 0o600);
    put("garbage.key", b"garbage\n", 0o600);
    put("open.key", &ours.key_pem(), 0o644);
    let key = openssl::pkey::PKey::private_key_from_pem(&ours.key_pem()).unwrap();
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap();
    put("encrypted.key", &encrypted, 0o600);
    let rows = [
        ("a.crt", "missing.key", "missing.key", "No such file or directory (os error 2)".to_owned()),
        (
            "a.crt",
            "others.key",
            "others.key",
            format!("private key does not match the certificate in {}", path("a.crt")),
        ),
        ("a.crt", "garbage.key", "garbage.key", "no private key in PEM format can be read".to_owned()),
        (
            "a.crt",
            "encrypted.key",
            "encrypted.key",
            "the private key is encrypted: set tls.key_passphrase_file to a file that holds its passphrase".to_owned(),
        ),
        (
            "a.crt",
            "open.key",
            "open.key",
            format!(
                "other users of this machine can read this private key (mode 644): run `chmod 600 {}`, or make it \
                 root's with mode 640 and a group that only the gateway has",
                path("open.key")
            ),
        ),
        ("garbage.key", "ours.key", "garbage.key", "no certificate in PEM format can be read".to_owned()),
    ];
    let mut findings = Findings::new();
    for (certificate, key, named, why) in rows {
        let settings = [format!("tls.certificate={}", path(certificate)), format!("tls.key={}", path(key))];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let what = format!("{}: {why}", path(named));
        let check = format!("tollgate: tls.certificate, tls.key: {what}");
        refuses(&mut findings, &node, &["check"], &settings, &check).await;
        let run = format!("tollgate: proxy.https_listen: no usable certificate: {what}");
        refuses(&mut findings, &node, &["run"], &settings, &run).await;
    }
}

/// What both commands say of a database that cannot be used.
async fn refuses_database(findings: &mut Findings, node: &Node, url: &str, expected: &str) {
    let setting = format!("database.url={url}");
    for (command, begin) in [(&["check", "--online"][..], "database.url"), (&["run"], "cannot open the database")] {
        refuses(findings, node, command, &[&setting], &format!("tollgate: {begin}: {expected}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_is_named_with_what_to_do() {
    let mut findings = Findings::new();
    let node = Node::on_sqlite();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let expected = format!("cannot connect to {address}/d as u within 10s");
    refuses_database(&mut findings, &node, &format!("postgres://u:secret@{address}/d"), &expected).await;
    let refused = refusing("127.0.0.1:0".parse().unwrap());
    let address = refused.local_addr().unwrap();
    let expected = format!(
        "cannot connect to {address}/d as u (nothing accepts connections there: is PostgreSQL running?): error \
         connecting to server: Connection refused (os error 111)"
    );
    refuses_database(&mut findings, &node, &format!("postgres://u:secret@{address}/d"), &expected).await;
    let expected = format!(
        "cannot resolve the host of {address}/d as u: a password with `@`, `:` or `/` must be percent-encoded in the \
         URL (`@` is `%40`): failed to lookup address information: Name or service not known"
    );
    refuses_database(&mut findings, &node, &format!("postgres://u:sec@ret@{address}/d"), &expected).await;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let rules = folder.path().join("pg_hba.conf");
    fs::write(&rules, "host all guarded all scram-sha-256\nhost all all all trust\nlocal all all trust\n").unwrap();
    let server = PostgresServer::with(&[&format!("hba_file={}", rules.display())]).await;
    server.run("CREATE ROLE guarded LOGIN PASSWORD 'right'");
    let address = server.authority();
    let expected = format!(
        "cannot connect to {address}/d as guarded (a password with `@`, `:` or `/` must be percent-encoded in the \
         URL: `@` is `%40`): db error: FATAL: password authentication failed for user \"guarded\""
    );
    refuses_database(&mut findings, &node, &format!("postgres://guarded:wrong@{address}/d"), &expected).await;
    let database = Database::create();
    let setting = format!("database.url={}", database.url());
    let lacking = "tollgate: database.url: the database lacks migrations: run `tollgate migrate up`, or start with \
                   `--migrate`";
    refuses(&mut findings, &node, &["check", "--online"], &[&setting], lacking).await;
}

on_both_stores! {
    async fn check_online_tries_what_the_configuration_names(gateway: Gateway) {
        let url = format!("database.url={}", gateway.database_url());
        let check = || gateway.tool(&["check", "--online", "--set", &url]);
        assert_eq!(check(), (true, "The settings are valid.\n".to_owned()));
        let there = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = there.local_addr().map(|address| (there, address)).unwrap();
        let gone = refusing("127.0.0.1:0".parse().unwrap());
        let gone = gone.local_addr().map(|address| (gone, address)).unwrap();
        for (name, address) in [("there", there.1), ("gone", gone.1)] {
            gateway.create("/services", json!({"name": name, "url": format!("http://{address}")})).await;
            gateway.create("/upstreams/", json!({"name": format!("{name}.upstream")})).await;
            let targets = format!("/upstreams/{name}.upstream/targets");
            gateway.create(&targets, json!({"target": address.to_string()})).await;
            // It has no address of its own: its targets have.
            let host = format!("{}.Upstream", name.to_uppercase());
            gateway.create("/services", json!({"name": format!("{name}-balanced"), "host": host})).await;
        }
        let drained = json!({"target": "drained.test:80", "weight": 0});
        gateway.create("/upstreams/there.upstream/targets", drained).await;
        let config = json!({"introspection_url": format!("http://{}/introspect", gone.1), "authorization_value": "Basic Yzpz"});
        gateway.create("/plugins", json!({"name": "oauth2-introspection", "config": config})).await;
        let (is_valid, said) = check();
        let lines: Vec<String> = ["plugin oauth2-introspection", "service gone", &format!("target {}", gone.1)]
            .map(|what| {
                format!("tollgate: {what}: cannot connect to {}: Connection refused (os error 111)", gone.1)
            })
            .to_vec();
        assert!(!is_valid, "{said}");
        let found: Vec<&str> = said.lines().filter(|line| line.contains("cannot connect")).collect();
        assert_eq!(found, lines, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_calls_is_tried_and_nothing_else() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    // The last of more upstreams than are read at a time.
    for number in 0..1000 {
        gateway.create("/upstreams", json!({"name": format!("other-{number}.invalid")})).await;
    }
    let last = json!({"name": "balanced.invalid", "id": "ffffffff-ffff-4fff-bfff-ffffffffffff"});
    gateway.create("/upstreams", last).await;
    gateway.create("/services", json!({"name": "balanced", "host": "balanced.invalid"})).await;
    gateway.create("/services", json!({"name": "off", "host": "off.invalid", "enabled": false})).await;
    let config = json!({
        "scopes": ["read"], "enable_client_credentials": true, "issuer": "https://issuer.invalid",
        "authorization_endpoint": "https://login.invalid/authorize",
    });
    gateway.create("/services/balanced/plugins", json!({"name": "oauth2", "config": config})).await;
    let (is_valid, said) = gateway.tool(&["check", "--online"]);
    assert!(is_valid && !said.contains("invalid:"), "{said}");

    gateway.create("/services", json!({"name": "gone", "host": "gone.invalid", "port": 81})).await;
    let config =
        json!({"introspection_url": "http://authority.invalid/introspect", "authorization_value": "Basic eA=="});
    gateway.create("/services/gone/plugins", json!({"name": "oauth2-introspection", "config": config})).await;
    let (is_valid, said) = gateway.tool(&["check", "--online"]);
    assert!(!is_valid && said.contains("service gone: cannot connect to gone.invalid:81: "), "{said}");
    assert!(said.contains("plugin oauth2-introspection: cannot connect to authority.invalid:80: "), "{said}");
}
