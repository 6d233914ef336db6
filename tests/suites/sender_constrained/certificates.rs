//! Tokens that are bound to a TLS certificate, and clients that are known by theirs (RFC 8705).

use openssl::ssl::SslVersion;
use tollgate_tests::tls::{Identity, exchange_as};

use super::*;

/// A gateway that asks for certificates, of which those of an authority are worth more.
pub(super) async fn asking(store: Store, authority: &Identity, requested: &str) -> (Gateway, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.certificate.to_pem().unwrap()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let settings = [("TOLLGATE_TLS_CLIENT_CERTIFICATES", requested), ("TOLLGATE_TLS_CLIENT_CA", &path)];
    (Gateway::on(store, &settings).await, file)
}

pub(super) async fn send(
    gateway: &Gateway,
    identity: Option<&Identity>,
    line: &str,
    headers: &[(&str, &str)],
    form: &[(&str, &str)],
) -> Reply {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
        body.len()
    );
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    let request = format!("{request}\r\n{body}");
    exchange_as(gateway.https, identity, SslVersion::TLS1_3, request).await.expect("a response")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_presented_with_its_certificate_rfc8705_3() {
    let authority = Identity::issue(&[("CN", "authority")], None);
    let (gateway, _file) = asking(Store::Sqlite, &authority, "optional").await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"mtls_bound_tokens": "optional"})).await;
    let client = Application::register(&gateway, "app", json!({})).await;
    let (own_identity, other) = (Identity::issue(&[("CN", "app")], None), Identity::issue(&[("CN", "app")], None));
    let form = own(&client);
    let issue = async |identity| send(&gateway, identity, "POST /api/oauth2/token", &[], &form).await;
    let issued = issue(Some(&own_identity)).await.expect(200).json();
    assert_eq!(issued["token_type"], "bearer");
    let plain = issue(None).await.expect(200).json();
    let read = async |token: &Value, identity| {
        let authorization = format!("Bearer {}", token["access_token"].as_str().unwrap());
        send(&gateway, identity, "GET /api/things", &[("Authorization", &authorization)], &[]).await.status
    };
    assert_eq!(read(&issued, Some(&own_identity)).await, 200);
    assert_eq!(read(&issued, Some(&other)).await, 401);
    assert_eq!(read(&issued, None).await, 401);
    assert_eq!(read(&plain, None).await, 200);
    // Whoever sends it: a certificate in a header is none.
    let authorization = format!("Bearer {}", issued["access_token"].as_str().unwrap());
    let pem = format!(":{}:", base64::prelude::BASE64_STANDARD.encode(own_identity.certificate.to_der().unwrap()));
    let headers = [("Authorization", authorization.as_str()), ("Client-Cert", &pem), ("X-Client-Cert", &pem)];
    assert_eq!(send(&gateway, None, "GET /api/things", &headers, &[]).await.status, 401);

    let plugin = format!("/plugins/{}", api.plugin["id"].as_str().unwrap());
    gateway.change(&plugin, json!({"config": {"mtls_bound_tokens": "required"}})).await;
    assert_eq!(read(&plain, None).await, 401);
    assert_eq!(read(&plain, Some(&own_identity)).await, 401);
    assert_eq!(read(&issued, Some(&own_identity)).await, 200);
    assert_eq!(error(&issue(None).await), (400, json!("invalid_request")));
    gateway.change(&plugin, json!({"config": {"mtls_bound_tokens": "off"}})).await;
    assert_eq!(read(&issued, Some(&own_identity)).await, 401, "nobody compares it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_known_by_its_certificate_rfc8705_2() {
    let authority = Identity::issue(&[("CN", "authority")], None);
    let impostor = Identity::issue(&[("CN", "authority")], None);
    let (gateway, _file) = asking(Store::Sqlite, &authority, "optional").await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({})).await;
    let subject = [("O", "Example"), ("CN", "client")];
    let issued = Identity::issue(&subject, Some(&authority));
    let made = Identity::issue(&subject, None);
    let by_subject =
        json!({"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=client, O=Example"});
    let by_subject = Application::register(&gateway, "subject", by_subject).await;
    let by_thumbprint = json!({
        "token_endpoint_auth_method": "self_signed_tls_client_auth", "tls_client_certificate_thumbprint": made.thumbprint(),
    });
    let by_thumbprint = Application::register(&gateway, "thumbprint", by_thumbprint).await;
    let others = [
        ("none", None),
        ("issued", Some(issued.clone())),
        ("made by the client", Some(made.clone())),
        ("of another subject", Some(Identity::issue(&[("CN", "client")], Some(&authority)))),
        ("of an impostor of the authority", Some(Identity::issue(&subject, Some(&impostor)))),
    ];
    for (client, right) in [(&by_subject, "issued"), (&by_thumbprint, "made by the client")] {
        for (name, identity) in &others {
            let form = [("grant_type", "client_credentials"), ("client_id", client.id()), ("scope", "email")];
            let reply = send(&gateway, identity.as_ref(), "POST /api/oauth2/token", &[], &form).await;
            let expected = if *name == right { 200 } else { 400 };
            assert_eq!(reply.status, expected, "{} with a certificate {name}: {}", client.id(), reply.body);
            let secret = [&form[..], &[("client_secret", client.secret())]].concat();
            let reply = send(&gateway, identity.as_ref(), "POST /api/oauth2/token", &[], &secret).await;
            assert_eq!(error(&reply), (400, json!("invalid_client")), "the secret is not its method");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_may_require_certificates_of_its_authority() {
    let authority = Identity::issue(&[("CN", "authority")], None);
    let (gateway, _file) = asking(Store::Sqlite, &authority, "required").await;
    let request = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let with = async |identity: Option<&Identity>| {
            exchange_as(gateway.https, identity, version, request.to_owned()).await.map(|reply| reply.status)
        };
        assert_eq!(with(Some(&Identity::issue(&[("CN", "client")], Some(&authority)))).await, Ok(404), "{version:?}");
        assert!(with(Some(&Identity::issue(&[("CN", "client")], None))).await.is_err(), "{version:?}");
        assert!(with(None).await.is_err(), "{version:?}");
    }
}
