//! The client against real servers on real sockets.

mod bounds;
mod breaker;
mod connections;
mod destinations;
mod malformed;
mod repetition;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request};
use prometheus::{Registry, TextEncoder};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Handle;

use crate::limits::Limits;
use crate::testing::{Server, Stream, read_request};
use crate::{Client, Destinations, Profile, resolver};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A separate client with its metrics.
struct Fixture {
    client: Client,
    registry: Registry,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        let registry = Registry::new();
        let client = Client::of(Handle::current(), &registry, Destinations::default(), limits, names(&[])).unwrap();
        Self { client, registry }
    }

    fn profile(&self) -> Profile {
        self.client.profile("test")
    }

    fn metrics(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }

    #[track_caller]
    fn assert_no_breakers(&self) {
        assert!(!self.metrics().contains("tollgate_outbound_breaker_state{"), "{}", self.metrics());
    }

    #[track_caller]
    fn assert_metric(&self, line: &str) {
        let text = self.metrics();
        assert!(text.lines().any(|each| each == line), "{line} is missing in\n{text}");
    }
}

fn fixture() -> Fixture {
    Fixture::new(Limits::default())
}

fn request(method: Method, url: &str) -> Request<Bytes> {
    Request::builder().method(method).uri(url).body(Bytes::new()).unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    request(Method::GET, url)
}

/// Responds to every request on a connection, until the client closes it.
async fn respond_to_all(mut stream: Box<dyn Stream>) {
    while read_request(&mut stream).await.is_some() {
        stream.write_all(OK).await.unwrap();
    }
}

/// A server that sends these bytes as the first response on each connection, then closes it.
async fn server_that_says(bytes: impl Into<Vec<u8>>) -> (Server, Arc<AtomicUsize>) {
    let (bytes, requests) = (bytes.into(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&requests);
    let server = Server::start(None, move |_, mut stream| {
        let (bytes, counted) = (bytes.clone(), Arc::clone(&counted));
        async move {
            if read_request(&mut stream).await.is_some() {
                counted.fetch_add(1, Ordering::SeqCst);
                // The client may have closed already: it stops at the first fault.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        }
    })
    .await;
    (server, requests)
}

/// The addresses of names, from these name servers or else those of the system.
fn names(servers: &[std::net::SocketAddr]) -> resolver::Names {
    let nameservers = servers.iter().copied().map(tollgate_dns::Nameserver).collect();
    let settings = tollgate_dns::Settings { nameservers, ..tollgate_dns::Settings::default() };
    resolver::Names::Resolver(tollgate_dns::Resolver::new(Handle::current(), &settings).unwrap())
}
