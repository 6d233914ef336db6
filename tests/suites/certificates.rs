//! Certificates as entities: which one a handshake gets, and TLS with upstreams (gateway.md §2.4, §6).

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use http::Method;
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{NameType, SslAcceptor, SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Name, X509NameBuilder};
use serde_json::{Value, json};
use tollgate_tests::Gateway;

use crate::nodes::within;

const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate with its key.
struct Pair {
    certificate: X509,
    key: PKey<Private>,
}

impl Pair {
    fn ec(name: &str) -> Self {
        Self::issued(name, &ec(), None, false)
    }

    fn rsa(name: &str) -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        Self::issued(name, &key, None, false)
    }

    fn authority(name: &str, issuer: Option<&Self>) -> Self {
        Self::issued(name, &ec(), issuer, true)
    }

    fn issued(name: &str, key: &PKey<Private>, issuer: Option<&Self>, authority: bool) -> Self {
        let mut builder = X509::builder().unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(120, MsbOption::MAYBE_ZERO, false).unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        let subject = named(name);
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(issuer.map_or(&subject, |issuer| issuer.certificate.subject_name())).unwrap();
        builder.set_pubkey(key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(3).unwrap()).unwrap();
        if authority {
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        } else {
            let mut names = SubjectAlternativeName::new();
            let names = if name == "127.0.0.1" { names.ip(name) } else { names.dns(name) };
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        builder.sign(issuer.map_or(key, |issuer| &issuer.key), MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key: key.clone() }
    }

    fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    fn key_pem(&self) -> String {
        String::from_utf8(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    fn body(&self, snis: &[&str]) -> Value {
        json!({"cert": self.pem(), "key": self.key_pem(), "snis": snis})
    }
}

fn ec() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn named(name: &str) -> X509Name {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    subject.build()
}

/// What a client offers.
#[derive(Clone, Copy)]
enum Offer {
    Anything,
    /// TLS 1.2 with these ciphers.
    Ciphers(&'static str),
    /// TLS 1.3 with these signature algorithms.
    Signatures(&'static str),
}

/// The common name of the certificate that a handshake gets, with the number of certificates sent.
async fn served(address: SocketAddr, name: Option<&str>, offer: Offer) -> (String, usize) {
    let name = name.map(str::to_owned);
    let talk = move || {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        match offer {
            Offer::Anything => {}
            Offer::Ciphers(ciphers) => {
                connector.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
                connector.set_cipher_list(ciphers).unwrap();
            }
            Offer::Signatures(algorithms) => {
                connector.set_min_proto_version(Some(SslVersion::TLS1_3)).unwrap();
                connector.set_sigalgs_list(algorithms).unwrap();
            }
        }
        let client = connector.build().configure().unwrap();
        let client = client.use_server_name_indication(name.is_some()).verify_hostname(false);
        let socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let stream = client.connect(name.as_deref().unwrap_or("unnamed.test"), socket).expect("a handshake");
        let certificate = stream.ssl().peer_certificate().expect("a certificate");
        let subject = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next().expect("a name");
        let name = subject.data().to_string().unwrap();
        (name, stream.ssl().peer_cert_chain().map_or(0, |chain| chain.len()))
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

async fn name_served(gateway: &Gateway, name: Option<&str>) -> String {
    served(gateway.https, name, Offer::Anything).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_gets_the_certificate_of_its_server_name_and_each_write_is_in_force_at_once() {
    let gateway = Gateway::on_sqlite().await;
    let default = "localhost";
    assert_eq!(name_served(&gateway, Some("a.shop.test")).await, default);
    let mut certificates = Vec::new();
    for (cn, sni) in [("any", "*"), ("suffix", "a.shop.*"), ("prefix", "*.shop.test"), ("exact", "a.shop.test")] {
        let created = gateway.create("/certificates", Pair::ec(cn).body(&[sni])).await;
        certificates.push(created["id"].as_str().unwrap().to_owned());
        assert_eq!(name_served(&gateway, Some("A.shop.test")).await, cn, "the most specific name so far");
    }
    let rows = [
        (Some("a.shop.test"), "exact"),
        (Some("b.shop.test"), "prefix"),
        (Some("a.shop.example"), "suffix"),
        (Some("x.y.shop.test"), "any"),
        (None, default),
    ];
    for (name, expected) in rows {
        assert_eq!(name_served(&gateway, name).await, expected, "{name:?}");
    }
    // Replaced, renamed, and deleted with its names.
    let exact = certificates.pop().unwrap();
    let renewed = Pair::ec("renewed");
    gateway.change(&format!("/certificates/{exact}"), json!({"cert": renewed.pem(), "key": renewed.key_pem()})).await;
    assert_eq!(name_served(&gateway, Some("a.shop.test")).await, "renewed");
    gateway.change(&format!("/certificates/{exact}"), json!({"snis": ["other.test"]})).await;
    assert_eq!(name_served(&gateway, Some("a.shop.test")).await, "prefix");
    assert_eq!(name_served(&gateway, Some("other.test")).await, "renewed");
    gateway.delete("/certificates/other.test").await;
    assert_eq!(name_served(&gateway, Some("other.test")).await, "any");
    gateway.delete("/snis/*").await;
    assert_eq!(name_served(&gateway, Some("other.test")).await, default);

    let expires = gateway.metric("tollgate_certificate_expiry_timestamp_seconds", &["name=\"*.shop.test\""]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((2.0..=3.1).contains(&((expires - now) / 86_400.0)), "{expires}");
    assert!(gateway.metric("tollgate_certificate_expiry_timestamp_seconds", &["name=\"default\""]).await > now);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_type_is_chosen_by_what_the_client_offers_and_the_chain_is_sent() {
    let gateway = Gateway::on_sqlite().await;
    let (rsa, ec, above) = (Pair::rsa("rsa"), Pair::ec("ec"), Pair::authority("above", None));
    let body = json!({
        "cert": format!("{}{}", rsa.pem(), above.pem()), "key": rsa.key_pem(),
        "cert_alt": ec.pem(), "key_alt": ec.key_pem(), "snis": ["both.test"],
    });
    gateway.create("/certificates", body).await;
    gateway.create("/certificates", Pair::rsa("only rsa").body(&["rsa.test"])).await;
    let rows = [
        ("both.test", Offer::Ciphers("ECDHE-RSA-AES128-GCM-SHA256"), ("rsa", 2)),
        ("both.test", Offer::Ciphers("ECDHE-ECDSA-AES128-GCM-SHA256"), ("ec", 1)),
        ("both.test", Offer::Signatures("rsa_pss_rsae_sha256"), ("rsa", 2)),
        ("both.test", Offer::Signatures("ecdsa_secp256r1_sha256"), ("ec", 1)),
        // The default has a key of the type that clients prefer; it is not presented for this name.
        ("rsa.test", Offer::Anything, ("only rsa", 1)),
    ];
    for (name, offer, (expected, sent)) in rows {
        assert_eq!(served(gateway.https, Some(name), offer).await, (expected.to_owned(), sent), "{name}");
    }
}

fn without_times(mut reply: Value) -> Value {
    for name in ["created_at", "updated_at"] {
        assert!(reply[name].take().is_u64(), "{name}");
    }
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_shows_certificates_with_their_names_and_refuses_what_cannot_be() {
    let gateway = Gateway::on_sqlite().await;
    let (one, two) = (Pair::ec("one"), Pair::ec("two"));
    let id = "10000000-0000-4000-8000-000000000001";
    let put = gateway.admin(Method::PUT, &format!("/certificates/{id}"), one.body(&["b.test", "a.test"])).await;
    let shown = json!({
        "id": id, "created_at": null, "updated_at": null, "cert": one.pem(), "key": one.key_pem(),
        "cert_alt": null, "key_alt": null, "tags": null, "snis": ["a.test", "b.test"],
    });
    assert_eq!(without_times(put.expect(200).json()), shown);
    for path in [format!("/certificates/{id}"), "/certificates/b.test".to_owned()] {
        assert_eq!(without_times(gateway.admin_get(&path).await.expect(200).json()), shown, "{path}");
    }
    let list = gateway.admin_get("/certificates").await.expect(200).json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(without_times(list["data"][0].clone()), shown);

    let message = |text: &str| json!({"message": text});
    assert_eq!(gateway.admin_get("/certificates/c.test").await.expect(404).json(), message("SNI not found"));
    assert_eq!(gateway.admin_get("/snis/a.test/certificate").await.expect(404).json(), message("Not found"));
    let violation = |text: String, fields: Value| json!({"code": 2, "name": "schema violation", "message": format!("schema violation ({text})"), "fields": fields});
    let taken = format!("a.test already associated with existing certificate '{id}'");
    let twice = "c.test is duplicated";
    let mixed = json!({"cert": one.pem(), "key": two.key_pem()});
    let mismatch = "certificate does not match key";
    let rows = [
        (two.body(&["c.test", "a.test"]), violation(format!("snis: {taken}"), json!({"snis": taken}))),
        (two.body(&["c.test", "c.test"]), violation(format!("snis: {twice}"), json!({"snis": twice}))),
        (mixed, violation(mismatch.to_owned(), json!({"@entity": [mismatch]}))),
    ];
    for (body, expected) in rows {
        assert_eq!(gateway.admin(Method::POST, "/certificates", body).await.expect(400).json(), expected);
    }
    let names = gateway.admin_get("/snis").await.expect(200).json();
    assert_eq!(names["data"].as_array().map(Vec::len), Some(2), "refused writes leave no names");

    let created = gateway.admin(Method::PUT, "/certificates/c.test", two.body(&["d.test"])).await.expect(200).json();
    assert_eq!(created["snis"], json!(["c.test", "d.test"]));
    let sni = gateway.create("/certificates/c.test/snis", json!({"name": "e.test"})).await;
    assert_eq!(sni["certificate"]["id"], created["id"]);
    gateway.admin_get("/certificates/c.test/snis/e.test").await.expect(200);

    let service = json!({"name": "s", "url": "https://up.test", "client_certificate": {"id": id}});
    let service = gateway.create("/services", service).await;
    let presented = gateway.admin_get("/services/s/client_certificate").await.expect(200).json();
    assert_eq!(without_times(presented), shown);
    let services = gateway.admin_get(&format!("/certificates/{id}/services")).await.expect(200).json();
    assert_eq!(services["data"][0]["id"], service["id"]);
    let refused = gateway.admin(Method::DELETE, &format!("/certificates/{id}"), Value::Null).await.expect(400).json();
    let text = "an existing 'services' entity references this 'certificates' entity";
    let expected = json!({
        "code": 4, "name": "foreign key violation", "message": text, "fields": {"@referenced_by": "services"},
    });
    assert_eq!(refused, expected);
    assert_eq!(gateway.admin_get("/certificates/a.test").await.expect(200).json()["id"], id, "its names remain");

    let authority = Pair::authority("authority", None);
    let ca = gateway.create("/ca_certificates", json!({"cert": authority.pem()})).await;
    let digest: String = authority
        .certificate
        .digest(MessageDigest::sha256())
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(ca["cert_digest"], digest);
    gateway.change("/services/s", json!({"ca_certificates": [ca["id"]]})).await;
    let path = format!("/ca_certificates/{}", ca["id"].as_str().unwrap());
    let refused = gateway.admin(Method::DELETE, &path, Value::Null).await.expect(400).json();
    let (ca, service) = (ca["id"].as_str().unwrap(), service["id"].as_str().unwrap());
    let text = format!("ca certificate {ca} is still referenced by services (id = {service})");
    assert_eq!(refused, json!({"code": 19, "name": "referenced by others", "message": text}));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_presents_a_new_certificate_within_a_second() {
    let one = Gateway::on_postgres().await;
    let other = one.another_node().await;
    one.create("/certificates", Pair::ec("first").body(&["a.test"])).await;
    within(Duration::from_secs(1), "a new certificate", async || name_served(&other, Some("a.test")).await == "first")
        .await;
    one.delete("/certificates/a.test").await;
    within(Duration::from_secs(1), "a deleted certificate", async || {
        name_served(&other, Some("a.test")).await == "localhost"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_settings_are_read_again_and_unusable_ones_leave_the_old_certificate() {
    let gateway = Gateway::on_sqlite().await;
    // Those that are made without the setting are files like any others.
    let path = |name: &str| gateway.directory().join(name);
    let write = |pair: &Pair| {
        fs::write(path("self-signed.key"), pair.key_pem()).unwrap();
        fs::write(path("self-signed.crt"), pair.pem()).unwrap();
    };
    assert_eq!(name_served(&gateway, None).await, "localhost");
    write(&Pair::ec("two"));
    within(PATIENCE, "changed files", async || name_served(&gateway, None).await == "two").await;
    fs::write(path("self-signed.crt"), "no certificate").unwrap();
    let told = |gateway: &Gateway, what: &str| {
        let output = gateway.output();
        let certificate = path("self-signed.crt").display().to_string();
        let is_told = |line: &&str| [what, "tls.certificate", &certificate].iter().all(|part| line.contains(part));
        output.lines().filter(is_told).count()
    };
    let unusable = "cannot use the new files; what was read before stays in force";
    within(PATIENCE, "a line in the log", async || told(&gateway, unusable) > 0).await;
    assert_eq!(name_served(&gateway, None).await, "two");
    write(&Pair::ec("three"));
    let read = |gateway: &Gateway| told(gateway, "read the files again");
    within(PATIENCE, "good files", async || name_served(&gateway, None).await == "three").await;
    let before = read(&gateway);
    let hangup = Command::new("kill").args(["-HUP", &gateway.process_id().to_string()]).status().unwrap();
    assert!(hangup.success());
    within(PATIENCE, "a signal", async || read(&gateway) > before).await;
    assert_eq!(name_served(&gateway, None).await, "three");
}

/// A TLS upstream that requires a client certificate of this authority, and responds with its name and the name of the
/// server that was asked for, if one was.
fn upstream(identity: &Pair, intermediate: &Pair, clients: &Pair) -> SocketAddr {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&identity.key).unwrap();
    acceptor.set_certificate(&identity.certificate).unwrap();
    acceptor.add_extra_chain_cert(intermediate.certificate.clone()).unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(clients.certificate.clone()).unwrap();
    acceptor.set_verify_cert_store(store.build()).unwrap();
    acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let acceptor = acceptor.clone();
            std::thread::spawn(move || {
                let Ok(mut stream) = acceptor.accept(socket) else { return };
                let certificate = stream.ssl().peer_certificate().expect("it is required");
                let name = certificate.subject_name().entries().next().unwrap().data().to_string().unwrap();
                let asked = stream.ssl().servername(NameType::HOST_NAME).map(|asked| format!(" at {asked}"));
                let name = name + &asked.unwrap_or_default();
                let mut head = Vec::new();
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    head.extend(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let length = name.len();
                        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                        if stream.write_all(response.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_presents_its_certificate_and_trusts_its_authorities_to_their_depth() {
    let gateway = Gateway::on_sqlite().await;
    let root = Pair::authority("root", None);
    let middle = Pair::authority("middle", Some(&root));
    let clients = Pair::authority("clients", None);
    let [one, two] = ["one", "two"].map(|name| Pair::issued(name, &ec(), Some(&clients), false));
    let address = upstream(&Pair::issued("127.0.0.1", &ec(), Some(&middle), false), &middle, &clients);
    let mut ids = Vec::new();
    for pair in [&one, &two] {
        ids.push(gateway.create("/certificates", pair.body(&[])).await["id"].clone());
    }
    let trusted = gateway.create("/ca_certificates", json!({"cert": root.pem()})).await["id"].clone();
    let other = gateway.create("/ca_certificates", json!({"cert": clients.pem()})).await["id"].clone();
    let service = json!({
        "name": "up", "url": format!("https://{address}"), "retries": 0, "tls_verify": true,
        "client_certificate": {"id": ids[0]}, "ca_certificates": [trusted],
    });
    gateway.create("/services", service).await;
    gateway.create("/services/up/routes", json!({"paths": ["/"]})).await;
    let get = async || {
        let reply = gateway.send(gateway.client.get(gateway.plain_url("/"))).await;
        (reply.status, if reply.status == 200 { reply.body } else { String::new() })
    };
    let ok = |name: &str| (200, name.to_owned());
    let refused = (502, String::new());
    assert_eq!(get().await, ok("one"));
    let rows = [
        (json!({"client_certificate": {"id": ids[1]}}), ok("two")),
        (json!({"client_certificate": null}), refused.clone()),
        (json!({"client_certificate": {"id": ids[0]}}), ok("one")),
        (json!({"ca_certificates": [other]}), refused.clone()),
        (json!({"ca_certificates": null}), refused.clone()),
        (json!({"ca_certificates": [other, trusted]}), ok("one")),
        (json!({"tls_verify_depth": 0}), refused.clone()),
        (json!({"tls_verify_depth": 1}), ok("one")),
        (json!({"ca_certificates": [other], "tls_verify": false}), ok("one")),
    ];
    for (change, expected) in rows {
        gateway.change("/services/up", change.clone()).await;
        assert_eq!(get().await, expected, "{change}");
    }
    // A renewed certificate is presented without a change of the service.
    let renewed = Pair::issued("renewed", &ec(), Some(&clients), false);
    let path = format!("/certificates/{}", ids[0].as_str().unwrap());
    gateway.change(&path, json!({"cert": renewed.pem(), "key": renewed.key_pem()})).await;
    assert_eq!(get().await, ok("renewed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_presented_the_certificate_of_the_service_or_else_of_its_upstream() {
    let gateway = Gateway::on_sqlite().await;
    let (servers, clients) = (Pair::authority("servers", None), Pair::authority("clients", None));
    let [one, two] = ["one", "two"].map(|name| Pair::issued(name, &ec(), Some(&clients), false));
    let address = upstream(&Pair::issued("127.0.0.1", &ec(), Some(&servers), false), &servers, &clients);
    let mut ids = Vec::new();
    for pair in [&one, &two] {
        ids.push(gateway.create("/certificates", pair.body(&[])).await["id"].clone());
    }
    gateway.create("/upstreams", json!({"name": "targets"})).await;
    gateway.create("/upstreams/targets/targets", json!({"target": address.to_string()})).await;
    let service =
        json!({"name": "up", "protocol": "https", "host": "targets", "port": 443, "retries": 0, "tls_verify": false});
    gateway.create("/services", service).await;
    gateway.create("/services/up/routes", json!({"paths": ["/"]})).await;
    let presented = async || {
        let reply = gateway.send(gateway.client.get(gateway.plain_url("/"))).await;
        if reply.status == 200 { reply.body } else { reply.status.to_string() }
    };
    // The target requires one.
    assert_eq!(presented().await, "502");
    let rows = [
        ("/upstreams/targets", json!({"id": ids[0]}), "one"),
        ("/upstreams/targets", json!({"id": ids[1]}), "two"),
        ("/services/up", json!({"id": ids[0]}), "one"),
        ("/upstreams/targets", json!(null), "one"),
        ("/services/up", json!(null), "502"),
    ];
    for (path, certificate, expected) in rows {
        gateway.change(path, json!({"client_certificate": certificate})).await;
        assert_eq!(presented().await, expected, "{path}: {certificate}");
    }
}

/// Two clients' certificates as entities, and a target that requires one of them, as the target of an upstream and a
/// service.
struct Mutual {
    gateway: Gateway,
    clients: Pair,
    ids: Vec<Value>,
    /// The authorities that lead to the target's certificate, the trusted one first.
    servers: [Pair; 2],
}

impl Mutual {
    /// The target's certificate is for this name, and it is named so unless it is an address.
    async fn new(name: &str) -> Self {
        let gateway = Gateway::on_sqlite().await;
        let root = Pair::authority("root", None);
        let middle = Pair::authority("middle", Some(&root));
        let clients = Pair::authority("clients", None);
        let port = upstream(&Pair::issued(name, &ec(), Some(&middle), false), &middle, &clients).port();
        let mut ids = Vec::new();
        for pair in ["one", "two"].map(|name| Pair::issued(name, &ec(), Some(&clients), false)) {
            ids.push(gateway.create("/certificates", pair.body(&[])).await["id"].clone());
        }
        gateway.create("/upstreams", json!({"name": "targets"})).await;
        gateway.create("/upstreams/targets/targets", json!({"target": format!("{name}:{port}")})).await;
        let service = json!({
            "name": "up", "protocol": "https", "host": "targets", "port": 443, "retries": 0, "tls_verify": true,
        });
        gateway.create("/services", service).await;
        gateway.create("/services/up/routes", json!({"paths": ["/"]})).await;
        Self { gateway, clients, ids, servers: [root, middle] }
    }

    /// What the target has seen, or else the status.
    async fn seen(&self) -> String {
        let reply = self.gateway.send(self.gateway.client.get(self.gateway.plain_url("/"))).await;
        if reply.status == 200 { reply.body } else { reply.status.to_string() }
    }

    async fn expect(&self, rows: Vec<(&str, Value, &str)>) {
        for (path, change, expected) in rows {
            self.gateway.change(path, change.clone()).await;
            assert_eq!(self.seen().await, expected, "{path}: {change}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_verified_as_their_service_says_and_asked_for_by_the_name_they_are_sent() {
    let mutual = Mutual::new("localhost").await;
    let root = mutual.gateway.create("/ca_certificates", json!({"cert": mutual.servers[0].pem()})).await["id"].clone();
    let other = mutual.gateway.create("/ca_certificates", json!({"cert": mutual.clients.pem()})).await["id"].clone();
    let (service, of_targets) = ("/services/up", "/upstreams/targets");
    let rows = vec![
        (of_targets, json!({"client_certificate": {"id": mutual.ids[0]}}), "502"),
        (service, json!({"ca_certificates": [root]}), "one at localhost"),
        (service, json!({"ca_certificates": [other]}), "502"),
        (service, json!({"ca_certificates": [other, root]}), "one at localhost"),
        // Between the target's certificate and the root there is one.
        (service, json!({"tls_verify_depth": 0}), "502"),
        (service, json!({"tls_verify_depth": 1}), "one at localhost"),
        // The terms of one connection are not those of another.
        (of_targets, json!({"client_certificate": {"id": mutual.ids[1]}}), "two at localhost"),
        (of_targets, json!({"host_header": "other.test:8443"}), "502"),
        (service, json!({"tls_verify": false}), "two at other.test"),
        (service, json!({"ca_certificates": null, "tls_verify_depth": null}), "two at other.test"),
        (of_targets, json!({"host_header": null}), "two at localhost"),
        (service, json!({"tls_verify": true}), "502"),
    ];
    mutual.expect(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_an_address_is_asked_for_by_no_name_and_verified_by_its_address() {
    let mutual = Mutual::new("127.0.0.1").await;
    let root = mutual.gateway.create("/ca_certificates", json!({"cert": mutual.servers[0].pem()})).await["id"].clone();
    let rows = vec![
        ("/upstreams/targets", json!({"client_certificate": {"id": mutual.ids[0]}}), "502"),
        ("/services/up", json!({"ca_certificates": [root]}), "one"),
        ("/services/up", json!({"tls_verify": false}), "one"),
    ];
    mutual.expect(rows).await;
    // A renewed certificate is presented at once, without a change of the upstream.
    let renewed = Pair::issued("renewed", &ec(), Some(&mutual.clients), false);
    let path = format!("/certificates/{}", mutual.ids[0].as_str().unwrap());
    mutual.gateway.change(&path, json!({"cert": renewed.pem(), "key": renewed.key_pem()})).await;
    assert_eq!(mutual.seen().await, "renewed");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_present_the_certificate_of_the_upstream_never_that_of_a_service() {
    let mutual = Mutual::new("127.0.0.1").await;
    let gateway = &mutual.gateway;
    let checks = json!({"active": {
        "type": "https", "https_verify_certificate": false, "healthy": {"interval": 0.1, "successes": 1},
        "unhealthy": {"interval": 0.1, "tcp_failures": 1, "http_failures": 1},
    }});
    let healthy = async |expected: &str| {
        within(PATIENCE, expected, async || {
            let shown = gateway.admin_get("/upstreams/targets/health").await.expect(200).json();
            shown["data"][0]["health"] == json!(expected)
        })
        .await;
    };
    // Requests are not the reason.
    gateway.change("/services/up", json!({"client_certificate": {"id": mutual.ids[0]}, "tls_verify": false})).await;
    assert_eq!(mutual.seen().await, "one");
    gateway.change("/upstreams/targets", json!({"healthchecks": checks})).await;
    healthy("UNHEALTHY").await;
    assert_eq!(mutual.seen().await, "503");
    gateway.change("/upstreams/targets", json!({"client_certificate": {"id": mutual.ids[1]}})).await;
    healthy("HEALTHY").await;
    assert_eq!(mutual.seen().await, "one");
    // A certificate that the target does not accept, in the place of the good one, counts at once.
    let foreign = Pair::ec("foreign");
    let path = format!("/certificates/{}", mutual.ids[1].as_str().unwrap());
    gateway.change(&path, json!({"cert": foreign.pem(), "key": foreign.key_pem()})).await;
    healthy("UNHEALTHY").await;
    let good = Pair::issued("good", &ec(), Some(&mutual.clients), false);
    gateway.change(&path, json!({"cert": good.pem(), "key": good.key_pem()})).await;
    healthy("HEALTHY").await;
    gateway.change("/upstreams/targets", json!({"client_certificate": null})).await;
    healthy("UNHEALTHY").await;
}
