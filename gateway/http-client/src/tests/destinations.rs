//! Addresses that are not called.

use std::net::SocketAddr;

use super::*;
use crate::{Class, Error, Refusal};

/// A client of a gateway with these exceptions and listeners; every name has these addresses.
fn client(allowed: &[&str], listeners: &[SocketAddr], addresses: &[SocketAddr]) -> Client {
    let allowed = allowed.iter().map(|text| text.parse().unwrap());
    let destinations = Destinations::new(allowed, listeners.iter().copied());
    let addresses = addresses.to_vec();
    let lookup: resolver::Lookup = Arc::new(move |_, _| Ok(addresses.clone()));
    Client::with(Handle::current(), &Registry::new(), destinations, Limits::default(), lookup).unwrap()
}

async fn server() -> Server {
    Server::start(None, |_, stream| respond_to_all(stream)).await
}

#[tokio::test]
async fn a_metadata_service_is_not_called_by_address_or_by_name() {
    let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
    let mapped: SocketAddr = "[::ffff:169.254.169.254]:80".parse().unwrap();
    for (url, address) in [
        ("http://169.254.169.254/latest?secret", metadata),
        ("http://[::ffff:169.254.169.254]/latest?secret", mapped),
        ("http://issuer.test/latest?secret", metadata),
    ] {
        let client = client(&[], &[], &[metadata]);
        let error = client.profile("test").send(get(url)).await.unwrap_err();
        let told = format!(
            "{}: {address} is the address of a cloud's metadata service; outbound calls go there only if the setting \
             outbound.allowed_addresses contains it",
            url.trim_end_matches("?secret")
        );
        assert_eq!((error.to_string(), error.class()), (told, Class::InvalidRequest));
    }
}

#[tokio::test]
async fn a_listener_of_this_gateway_is_not_called_unless_it_is_allowed() {
    let (own, other) = (server().await, server().await);
    let any = SocketAddr::from(([0, 0, 0, 0], own.address.port()));
    for listener in [own.address, any] {
        for host in ["127.0.0.1", "issuer.test", "[::ffff:127.0.0.1]"] {
            let url = format!("http://{host}:{}/", own.address.port());
            let error = client(&[], &[listener], &[own.address]).profile("test").send(get(&url)).await.unwrap_err();
            let Error::Refused { refused, .. } = &error else { panic!("{listener} {url}: {error}") };
            assert_eq!(refused.reason, Refusal::OwnListener);
            let allowed = client(&["127.0.0.0/8"], &[listener], &[own.address]).profile("test").send(get(&url)).await;
            assert!(allowed.is_ok(), "{listener} {url}: {allowed:?}");
        }
        let beside = client(&[], &[listener], &[]).profile("test").send(get(&other.url("http", "/"))).await;
        assert!(beside.is_ok(), "{beside:?}");
    }
}

#[tokio::test]
async fn of_a_names_addresses_only_permitted_ones_are_called() {
    let (own, other) = (server().await, server().await);
    let client = client(&[], &[own.address], &[own.address, other.address]);
    assert!(client.profile("test").send(get("http://issuer.test/")).await.is_ok());
    assert_eq!((own.accepted(), other.accepted()), (0, 1));
}

#[tokio::test]
async fn a_name_that_comes_to_mean_another_address_is_not_followed_there() {
    let (own, other) = (server().await, server().await);
    let addresses = Arc::new(std::sync::Mutex::new(other.address));
    let told = Arc::clone(&addresses);
    let lookup: resolver::Lookup = Arc::new(move |_, _| Ok(vec![*told.lock().unwrap()]));
    let destinations = Destinations::new([], [own.address]);
    let limits = Limits { max_age: std::time::Duration::ZERO, ..Limits::default() };
    let client = Client::with(Handle::current(), &Registry::new(), destinations, limits, lookup).unwrap();
    let profile = client.profile("test");
    assert!(profile.send(get("http://issuer.test/")).await.is_ok());
    *addresses.lock().unwrap() = own.address;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match profile.send(get("http://issuer.test/")).await {
            // The last result of the resolver is used for a moment.
            Ok(_) => assert!(std::time::Instant::now() < deadline),
            Err(error) => {
                assert!(matches!(error, Error::Refused { .. }), "{error}");
                break;
            }
        }
    }
    assert_eq!(own.accepted(), 0);
}

#[tokio::test]
async fn a_url_with_a_refused_address_is_recognised_without_a_call() {
    let client = client(&["169.254.10.0/24"], &["127.0.0.1:8001".parse().unwrap()], &[]);
    for (url, refused) in [
        ("http://169.254.169.254/latest", Some(Refusal::Metadata)),
        ("https://127.0.0.1:8001/", Some(Refusal::OwnListener)),
        ("https://LOCALHOST:8001/", Some(Refusal::OwnListener)),
        ("https://[::ffff:127.0.0.1]:8001/", Some(Refusal::OwnListener)),
        ("https://127.0.0.1:8002/", None),
        ("https://169.254.10.1/", None),
        ("https://issuer.test/", None),
        ("/path", None),
    ] {
        let found = client.refuses_literal(&url.parse().unwrap());
        assert_eq!(found.map(|found| found.reason), refused, "{url}");
    }
}
