//! Which certificates are accepted and presented.

use http::StatusCode;
use openssl::ssl::{SslOptions, SslVersion};

use super::*;
use crate::testing::Authority;
use crate::{Class, Error, Tls};

async fn server(authority: &Authority, names: &[&str]) -> Server {
    Server::start(Some(authority.acceptor(names, b"\x08http/1.1")), |_, stream| respond_to_all(stream)).await
}

fn trusting(authority: &Authority) -> Tls {
    Tls::authorities(&authority.pem()).unwrap()
}

#[tokio::test]
async fn a_certificate_is_accepted_only_for_its_names_and_addresses() {
    let authority = Authority::new();
    let by_name = server(&authority, &["localhost"]).await;
    let by_address = server(&authority, &["127.0.0.1"]).await;
    let url = |host: &str, server: &Server| format!("https://{host}:{}/", server.address.port());
    for (host, server, mismatch) in [
        ("localhost", &by_name, None),
        // With the final dot of an absolute name.
        ("localhost.", &by_name, None),
        ("127.0.0.1", &by_address, None),
        ("127.0.0.1", &by_name, Some("IP address mismatch")),
        ("localhost", &by_address, Some("hostname mismatch")),
    ] {
        let lookup: resolver::Lookup = Arc::new(|_, port| Ok(vec![([127, 0, 0, 1], port).into()]));
        let client =
            Client::with(Handle::current(), &Registry::new(), Destinations::default(), Limits::default(), lookup)
                .unwrap();
        let result = client.profile("test").tls(trusting(&authority)).send(get(&url(host, server))).await;
        match (mismatch, result) {
            (None, Ok(response)) => assert_eq!(response.status(), StatusCode::OK),
            (Some(expected), Err(Error::Tls { reason, .. })) => assert_eq!(reason, expected),
            (_, other) => panic!("{host}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_untrusted_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = server(&authority, &["127.0.0.1"]).await;
    let url = server.url("https", "/token?secret");
    for (profile, reason) in [
        (fixture().profile(), "unable to get local issuer certificate"),
        // It has the same name but another key.
        (fixture().profile().tls(trusting(&other)), "certificate signature failure"),
    ] {
        let error = profile.send(get(&url)).await.unwrap_err();
        assert_eq!(error.class(), Class::Unavailable);
        let told = format!(
            "{}: TLS handshake failed: {reason}; \
             check the server's certificate and the trusted authorities",
            server.url("https", "/token")
        );
        assert_eq!(error.to_string(), told);
    }
}

#[tokio::test]
async fn a_verified_call_does_not_use_an_unverified_connection() {
    let (authority, fixture) = (Authority::new(), fixture());
    let server = server(&authority, &["elsewhere.test"]).await;
    let url = server.url("https", "/");
    let unverified = fixture.profile().tls(Tls::unverified().unwrap());
    assert_eq!(unverified.send(get(&url)).await.unwrap().status(), StatusCode::OK);
    let refused = fixture.profile().tls(trusting(&authority)).send(get(&url)).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
    assert_eq!(unverified.send(get(&url)).await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn profiles_with_equal_trust_share_connections() {
    let (authority, fixture) = (Authority::new(), fixture());
    let server = server(&authority, &["127.0.0.1"]).await;
    for _ in 0..2 {
        let profile = fixture.profile().tls(trusting(&authority));
        assert_eq!(profile.send(get(&server.url("https", "/"))).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_client_certificate_identifies_the_client_and_its_connections_are_its_own() {
    let (authority, fixture) = (Authority::new(), fixture());
    let acceptor = authority.acceptor_of_clients(&["127.0.0.1"], b"\x08http/1.1");
    let server = Server::start(Some(acceptor), |_, stream| respond_to_all(stream)).await;
    let url = server.url("https", "/");
    let (one, other) = (authority.client(), Authority::new().client());
    let with = |(certificate, key): &(Vec<u8>, Vec<u8>)| {
        fixture.profile().tls(trusting(&authority).with_client_certificate(certificate, key).unwrap())
    };
    for _ in 0..2 {
        assert_eq!(with(&one).send(get(&url)).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(server.accepted(), 1);
    // Also while there is a connection that was accepted. In TLS 1.3 the client hears of it after its handshake.
    for refused in [fixture.profile().tls(trusting(&authority)), with(&other)] {
        let error = refused.send(get(&url)).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. } | Error::Tls { .. } | Error::Connect { .. }), "{error}");
    }
    assert_eq!(with(&one).send(get(&url)).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_server_without_tls_1_2_is_not_called() {
    let authority = Authority::new();
    let mut acceptor = authority.acceptor_builder(&["127.0.0.1"], b"\x08http/1.1");
    acceptor.clear_options(SslOptions::NO_TLSV1 | SslOptions::NO_TLSV1_1);
    acceptor.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
    acceptor.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
    acceptor.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
    let server = Server::start(Some(acceptor.build()), |_, stream| respond_to_all(stream)).await;
    let error = fixture().profile().tls(trusting(&authority)).send(get(&server.url("https", "/"))).await.unwrap_err();
    let Error::Tls { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("protocol version"), "{reason}");
}
