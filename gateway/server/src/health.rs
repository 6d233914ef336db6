//! `tollgate health`: asks the node on this machine whether it is ready, or alive. It is the health check of containers,
//! which contain no other program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tollgate_dns::Resolver;
use tollgate_plugin::http_client::{self, Client, Destinations};

use crate::settings::Settings;

/// How long the node may take to respond: it asks its database for at most a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether requests should be sent to the node.
    Ready,
    /// Whether its process responds.
    Alive,
}

/// Why the node is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no response.
    #[error(
        "no response from the status listener at {address}: is the node running with these settings (status.listen)?"
    )]
    NoResponse {
        /// Where it was asked.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: http_client::Error,
    },
    /// The node says that it is not.
    #[error("the node at {address} is not ready: {message}")]
    NotReady {
        /// Where it was asked.
        address: SocketAddr,
        /// `starting`, `draining` or `degraded`.
        message: String,
    },
    /// The request cannot be made.
    #[error("cannot make a request to {0}")]
    Request(SocketAddr),
    /// The client cannot be set up.
    #[error("cannot set up a client")]
    Client(#[from] prometheus::Error),
}

/// Asks, and returns what is to be printed.
///
/// # Errors
/// The node is not ready, or not alive.
pub async fn ask(settings: &Settings, resolver: Resolver, question: Question) -> Result<String, Error> {
    let address = reachable(settings.status_listen);
    let path = match question {
        Question::Ready => "/status/ready",
        Question::Alive => "/status",
    };
    let request = http::Request::get(format!("http://{address}{path}")).body(Bytes::new());
    let request = request.map_err(|_| Error::Request(address))?;
    let runtime = tokio::runtime::Handle::current();
    // The operator's own gateway, wherever it listens.
    let client = Client::for_gateway(runtime, &prometheus::Registry::new(), Destinations::default(), resolver)?;
    let profile = client.profile("health").connect_timeout(PATIENCE).timeout(PATIENCE);
    let response = profile.send(request).await.map_err(|source| Error::NoResponse { address, source })?;
    if question == Question::Alive && response.status().is_success() {
        return Ok("alive".to_owned());
    }
    let said: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let message = said.get("message").and_then(Value::as_str);
    let message = message.map_or_else(|| format!("status {}", response.status().as_u16()), str::to_owned);
    if response.status().is_success() { Ok(message) } else { Err(Error::NotReady { address, message }) }
}

/// A node that listens on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8007", "127.0.0.1:8007"),
            ("[::]:8007", "[::1]:8007"),
            ("10.0.0.5:8007", "10.0.0.5:8007"),
            ("127.0.0.1:8007", "127.0.0.1:8007"),
        ] {
            let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
            assert_eq!(reachable(address(listen)), address(asked), "{listen}");
        }
    }
}
