//! TLS handshakes with a given server name and version.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};

use crate::raw;
use crate::reply::Reply;

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
