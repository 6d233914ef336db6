//! From an authority to a connection that speaks HTTP: name resolution, TCP, TLS, protocol negotiation.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use openssl::ssl::SslRef;
use openssl::x509::X509VerifyResult;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::connection::{Opened, Protocol};
use crate::destination::Refused;
use crate::resolver::{Resolver, Unresolved};
use crate::tls::Tls;

/// How long an attempt may take before the next address is tried in parallel (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Failure {
    Resolve(io::Error),
    Refused(Refused),
    Connect(io::Error),
    Tls(String),
}

/// Opens a connection; with TLS if a profile is given.
pub(crate) async fn dial(resolver: &Resolver, host: &str, tls: Option<&Tls>) -> Result<Opened, Failure> {
    let addresses = resolver.addresses().await.map_err(|why| match why {
        Unresolved::Failed(error) => Failure::Resolve(error),
        Unresolved::Refused(refused) => Failure::Refused(refused),
    })?;
    let stream = first_of(addresses, TcpStream::connect).await.map_err(Failure::Connect)?;
    stream.set_nodelay(true).map_err(Failure::Connect)?;
    let Some(tls) = tls else {
        return Opened::new(stream, Protocol::Http1).await.map_err(|error| Failure::Connect(io::Error::other(error)));
    };
    let failed = |error: openssl::error::ErrorStack| Failure::Tls(error.to_string());
    let session = tls.session(host).map_err(failed)?;
    let mut secured = SslStream::new(session, stream).map_err(failed)?;
    if let Err(error) = Pin::new(&mut secured).connect().await {
        return Err(Failure::Tls(reason(secured.ssl(), &error)));
    }
    let protocol = match secured.ssl().selected_alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Opened::new(secured, protocol).await.map_err(|error| Failure::Connect(io::Error::other(error)))
}

/// What was wrong with the certificate, if anything: OpenSSL's error says only that verification failed.
fn reason(session: &SslRef, error: &openssl::ssl::Error) -> String {
    match session.verify_result() {
        X509VerifyResult::OK => error.to_string(),
        result => result.error_string().to_owned(),
    }
}

/// Connects to the first of these addresses that accepts. The next one is tried when the previous one failed,
/// or has not connected for a while.
async fn first_of<F, T>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut untried = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match untried.next() {
            Some(address) => attempts.push(connect(address)),
            None if attempts.is_empty() => return Err(failed),
            None => {}
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(connected) => return Ok(connected),
                Err(error) => failed = error,
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if untried.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|last| SocketAddr::from(([10, 0, 0, last], 80))).collect()
    }

    fn last(address: SocketAddr) -> u16 {
        match address {
            SocketAddr::V4(address) => u16::from(address.ip().octets()[3]),
            SocketAddr::V6(_) => 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_hangs_does_not_delay_the_next_for_long() {
        let connect =
            |address| async move { if last(address) < 3 { std::future::pending().await } else { Ok(last(address)) } };
        let began = tokio::time::Instant::now();
        assert_eq!(first_of(addresses(3), connect).await.unwrap(), 3);
        assert_eq!(began.elapsed(), 2 * ATTEMPT_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_the_next_address_is_tried_at_once() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = |address| std::future::ready(if last(address) < 3 { Err(refused()) } else { Ok(last(address)) });
        let began = tokio::time::Instant::now();
        assert_eq!(first_of(addresses(3), connect).await.unwrap(), 3);
        assert_eq!(began.elapsed(), Duration::ZERO);
        let none = first_of(addresses(2), connect).await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
