//! TLS to an authority: whose certificates are accepted, and the gateway's own.

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509NameBuilder};
use tollgate_tests::Findings;

use super::*;

/// A certificate for `127.0.0.1` that is its own authority.
struct Certified {
    certificate: X509,
    key: PKey<Private>,
}

impl Certified {
    fn new() -> Self {
        let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "a test's server").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        let address = SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(address).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    fn key_pem(&self) -> String {
        String::from_utf8(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    /// A server with it; if a client is given, only that client may connect.
    fn server(&self, client: Option<&Self>) -> SslAcceptor {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        builder.set_certificate(&self.certificate).unwrap();
        builder.set_private_key(&self.key).unwrap();
        if let Some(client) = client {
            let mut trusted = X509StoreBuilder::new().unwrap();
            trusted.add_cert(client.certificate.clone()).unwrap();
            builder.set_cert_store(trusted.build());
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        builder.build()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_called_if_its_certificate_is_accepted() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, certified) = (Upstream::start().await, Certified::new());
    let authority = Authority::over_tls(certified.server(None)).await;
    authority.knows("token-of-kate-1234", json!({}));
    let warned = || gateway.output().contains("tls_verify is false");
    let mut findings = Findings::new();
    for (name, config, accepted) in [
        ("system", json!({}), false),
        ("other", json!({"tls_ca": Certified::new().pem()}), false),
        ("right", json!({"tls_ca": certified.pem()}), true),
        ("any", json!({"tls_verify": false}), true),
    ] {
        findings.compare(&format!("a warning before {name}"), &false, &warned());
        protected(&gateway, name, &upstream, &authority, config).await;
        let reply = get(&gateway, &format!("/{name}/x"), "token-of-kate-1234").await;
        let expected = if accepted { 200 } else { 503 };
        findings.compare(name, &expected, &reply.status);
    }
    until("a warning is logged", || async { warned() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_authenticates_with_its_certificate() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, server, client) = (Upstream::start().await, Certified::new(), Certified::new());
    let authority = Authority::over_tls(server.server(Some(&client))).await;
    authority.knows("token-of-kate-1234", json!({}));
    let trusted = json!({"tls_ca": server.pem()});
    protected(&gateway, "without", &upstream, &authority, trusted.clone()).await;
    let own = json!({
        "auth_method": "tls_client_auth", "client_id": "gateway",
        "tls_client_certificate": client.pem(), "tls_client_key": client.key_pem(),
    });
    protected(&gateway, "with", &upstream, &authority, laid_over(trusted, own)).await;
    assert_eq!(refusal(&get(&gateway, "/without/x", "token-of-kate-1234").await), unavailable());
    get(&gateway, "/with/x", "token-of-kate-1234").await.expect(200);
    let call = authority.calls().remove(0);
    let form = [("token", "token-of-kate-1234"), ("client_id", "gateway")];
    assert_eq!(call.form, form.map(|(name, value)| (name.to_owned(), value.to_owned())));
}
