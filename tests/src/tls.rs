//! TLS handshakes with a given server name and version.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use crate::raw;
use crate::reply::Reply;
use crate::signing_key::encode;

const PATIENCE: Duration = Duration::from_secs(20);

/// A GET over HTTP/1.1 with this server name (`None`: none is sent) and only this TLS version. The certificate is
/// not checked. The error is the reason why the handshake failed.
pub async fn get(
    address: SocketAddr,
    server_name: Option<&str>,
    version: SslVersion,
    target: &str,
) -> Result<Reply, String> {
    let server_name = server_name.map(str::to_owned);
    let request = format!("GET {target} HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n");
    let talk = move || exchange(address, server_name.as_deref(), version, request.as_bytes());
    tokio::task::spawn_blocking(talk).await.expect("a handshake that ends")
}

/// A client's certificate.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: X509,
    key: PKey<Private>,
}

impl Identity {
    /// A certificate for these attributes of a subject. `authority`: who issues it; `None`: itself.
    pub fn issue(subject: &[(&str, &str)], authority: Option<&Self>) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        subject.iter().for_each(|(kind, value)| name.append_entry_by_text(kind, value).unwrap());
        let name = name.build();
        let mut certificate = X509Builder::new().unwrap();
        certificate.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
        certificate.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        certificate.set_subject_name(&name).unwrap();
        let issuer = authority.map_or(&*name, |authority| authority.certificate.subject_name());
        certificate.set_issuer_name(issuer).unwrap();
        certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        certificate.set_pubkey(&key).unwrap();
        if authority.is_none() {
            certificate.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        }
        let signer = authority.map_or(&key, |authority| &authority.key);
        certificate.sign(signer, MessageDigest::sha256()).unwrap();
        Self { certificate: certificate.build(), key }
    }

    /// Its key.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// Writes certificate and key to files in this folder, in PEM.
    pub fn save(&self, folder: &Path) -> [PathBuf; 2] {
        let files = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
        std::fs::write(&files[0], self.certificate.to_pem().unwrap()).unwrap();
        std::fs::write(&files[1], self.key_pem()).unwrap();
        files
    }

    /// Its thumbprint, as in `x5t#S256` (RFC 8705 §3.1).
    pub fn thumbprint(&self) -> String {
        encode(sha256(&self.certificate.to_der().unwrap()))
    }
}

/// Sends these bytes over HTTP/1.1 on a connection with this certificate, and reads until the server closes. The
/// server's certificate is not checked. The error is the reason why the handshake failed.
pub async fn exchange_as(
    address: SocketAddr,
    identity: Option<&Identity>,
    version: SslVersion,
    request: String,
) -> Result<Reply, String> {
    let identity = identity.cloned();
    let talk = move || {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        connector.set_max_proto_version(Some(version)).unwrap();
        if let Some(identity) = identity {
            connector.set_certificate(&identity.certificate).unwrap();
            connector.set_private_key(&identity.key).unwrap();
        }
        let mut offer = connector.build().configure().unwrap();
        offer.set_verify_hostname(false);
        let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = offer.connect("unnamed.test", socket).map_err(|error| error.to_string())?;
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut response = Vec::new();
        // A reset after the response counts as its end.
        let _ = stream.read_to_end(&mut response);
        raw::parse(&response).ok_or_else(|| "no response".to_owned())
    };
    tokio::task::spawn_blocking(talk).await.expect("a handshake that ends")
}

fn exchange(
    address: SocketAddr,
    server_name: Option<&str>,
    version: SslVersion,
    request: &[u8],
) -> Result<Reply, String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    // OpenSSL's default list has nothing for versions before 1.2, so the client would refuse them itself.
    connector.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
    connector.set_min_proto_version(Some(version)).unwrap();
    connector.set_max_proto_version(Some(version)).unwrap();
    let mut offer = connector.build().configure().unwrap().use_server_name_indication(server_name.is_some());
    offer.set_verify_hostname(false);
    let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let stream = offer.connect(server_name.unwrap_or("unnamed.test"), socket);
    let mut stream = stream.map_err(|error| error.to_string())?;
    stream.write_all(request).map_err(|error| error.to_string())?;
    let mut response = Vec::new();
    // A reset after the response counts as its end.
    let _ = stream.read_to_end(&mut response);
    raw::parse(&response).ok_or_else(|| "no response".to_owned())
}
