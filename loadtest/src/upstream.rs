//! A small upstream for the gateway: it responds with a fixed body and echoes the identity headers, so that a run
//! can check the identity that the gateway passes on.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderName, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Headers that are echoed.
const ECHOED: [HeaderName; 5] = [
    HeaderName::from_static("x-consumer-id"),
    HeaderName::from_static("x-credential-identifier"),
    HeaderName::from_static("x-credential-client-id"),
    HeaderName::from_static("x-authenticated-scope"),
    HeaderName::from_static("x-authenticated-userid"),
];

/// A hundred bytes.
const BODY: &[u8] =
    b"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// Serves until the process ends; calls `listening` with the address.
///
/// # Errors
/// If it cannot listen on the address.
pub fn serve(address: SocketAddr, listening: impl FnOnce(SocketAddr)) -> std::io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))?;
        listening(listener.local_addr()?);
        loop {
            // Out of file descriptors or similar: open connections continue.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond)));
        }
    })
}

/// An address that is taken, say, is named with the error.
fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

async fn respond(request: http::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
    for name in ECHOED {
        if let Some(value) = request.headers().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_taken_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = serve(address, |_| panic!("it listens")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: Address already in use")), "{error}");
    }
}
