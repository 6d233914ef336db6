//! TLS on the Admin API's listener, client certificates, and keys that others can read.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::{X509Builder, X509NameBuilder};

use super::*;

/// A self-signed certificate with its key, in files.
struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn of(folder: &Path, name: &str) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509Builder::new().unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(&subject).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let files = Self { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
        fs::write(&files.certificate, builder.build().to_pem().unwrap()).unwrap();
        fs::write(&files.key, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        fs::set_permissions(&files.key, Permissions::from_mode(0o600)).unwrap();
        files
    }
}

/// The first line of the response to a DELETE, or why there is none.
async fn delete(address: SocketAddr, client: Option<&Certificate>) -> Result<String, String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    if let Some(client) = client {
        connector.set_private_key_file(&client.key, SslFiletype::PEM).unwrap();
        connector.set_certificate_file(&client.certificate, SslFiletype::PEM).unwrap();
    }
    let offer = connector.build().configure().unwrap().verify_hostname(false);
    let talk = move || {
        let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = offer.connect("localhost", socket).map_err(|error| error.to_string())?;
        let request = b"DELETE /services/x HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request).map_err(|error| error.to_string())?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).map_err(|error| error.to_string())?;
        let text = String::from_utf8(response).unwrap();
        text.lines().next().map(str::to_owned).ok_or_else(|| "no response".to_owned())
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_the_right_authority_opens_the_api_and_names_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let [server, ops, stranger] = ["gateway", "ops", "stranger"].map(|name| Certificate::of(folder.path(), name));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let settings = [
        ("TOLLGATE_ADMIN_TLS_CERTIFICATE", text(&server.certificate)),
        ("TOLLGATE_ADMIN_TLS_KEY", text(&server.key)),
        ("TOLLGATE_ADMIN_TLS_CLIENT_CA", text(&ops.certificate)),
        ("TOLLGATE_AUDIT_LOG", "audit.log".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = Gateway::on(Store::Sqlite, &settings).await;
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.addresses.admin.port().unwrap()));
    // A client that never finishes its handshake delays no other.
    let _silent = TcpStream::connect(address).unwrap();
    assert_eq!(delete(address, Some(&ops)).await, Ok("HTTP/1.1 204 No Content".to_owned()));
    for client in [None, Some(&stranger)] {
        let refused = delete(address, client).await;
        // An alert, or a reset that overtakes it.
        assert!(refused.is_err(), "{refused:?}");
    }
    let line = lines(&gateway, "audit.log", 1).await.remove(0);
    let seen = [&line["event"], &line["actor"], &line["client"], &line["status"]];
    assert_eq!(seen, [&json!("admin_write"), &json!("certificate:CN=ops"), &json!("127.0.0.1"), &json!(204)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_can_read_is_refused_by_check_and_by_run() {
    let folder = tempfile::tempdir().unwrap();
    let made = Certificate::of(folder.path(), "gateway");
    let node = Node::on_sqlite();
    for section in ["tls", "admin.tls"] {
        let certificate = format!("{section}.certificate={}", made.certificate.display());
        let key = format!("{section}.key={}", made.key.display());
        let arguments = |command: &'static str| vec![command, "--set", &certificate, "--set", &key];
        fs::set_permissions(&made.key, Permissions::from_mode(0o644)).unwrap();
        for command in ["check", "run"] {
            let refused = node.run(&arguments(command)).await;
            let text = format!(
                "{}: other users of this machine can read this private key (mode 644): run `chmod 600 {}`",
                made.key.display(),
                made.key.display()
            );
            assert!(refused.code == Some(1) && refused.output.contains(&text), "{section} {command}: {refused:?}");
        }
        fs::set_permissions(&made.key, Permissions::from_mode(0o600)).unwrap();
        let accepted = node.run(&arguments("check")).await;
        assert_eq!((accepted.code, accepted.output.as_str()), (Some(0), "The settings are valid.\n"), "{section}");
    }
}
