//! What is begun for a client that proves its key (RFC 9449 §10), and what its signed tokens say of it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tollgate_core::host::Host;
use tollgate_core::request::{CertificateTrust, ClientCertificate};
use tollgate_jose::Algorithm;

use super::*;
use crate::binding::Confirmation;
use crate::dpop::testing::ProofKey;

const PAR: &str = "/oauth2/par";
const BEGIN: &str = "/oauth2/device_authorization";
const TOKEN: &str = "/oauth2/token";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn configured(more: Value) -> Config {
    let mut patch = json!({
        "endpoints": ["par", "device"], "device_verification_uri": "https://login.test/device", "dpop": "optional",
        "pkce": "none",
    });
    merge(&mut patch, more);
    config(&patch)
}

/// Sends parameters with a proof of a key, if there is one.
async fn send(world: &World, config: &Config, path: &str, key: Option<&ProofKey>, members: Value) -> Response {
    send_as(world, config, path, (key, None), members).await
}

/// The same on a connection with a certificate, if there is one.
async fn send_as(
    world: &World,
    config: &Config,
    path: &str,
    (key, thumbprint): (Option<&ProofKey>, Option<&str>),
    members: Value,
) -> Response {
    let mut post = Post::json(path, &members);
    if let Some(key) = key {
        let uri = format!("https://as.test{path}");
        let claims = json!({"jti": Uuid::new_v4(), "htm": "POST", "htu": uri, "iat": NOW});
        post.headers.insert("dpop", HeaderValue::try_from(key.prove(&claims)).unwrap());
    }
    let host = Host::parse("as.test").unwrap();
    let mut request = post.request();
    request.addressed = Addressed { host: Some(&host), ..Addressed::default() };
    let certificate = thumbprint.map(|thumbprint| ClientCertificate {
        thumbprint: thumbprint.to_owned(),
        subject: Vec::new(),
        trust: CertificateTrust::KeyOnly,
    });
    request.certificate = certificate.as_ref();
    let endpoint = Endpoint::of_path(path).or_else(|| Endpoint::named(config, &request)).unwrap();
    match world.server.respond(world.plugin_id, config, endpoint, &request).await {
        Verdict::Reply(reply) => Response::of(&reply),
        other => panic!("no response: {other:?}"),
    }
}

fn redemption(code: &str) -> Value {
    json!({"client_id": "app", "grant_type": "authorization_code", "code": code})
}

async fn code_of(world: &World, config: &Config, pushed: &Response) -> String {
    world.code(config, json!({"client_id": "app", "request_uri": pushed.text("request_uri")})).await
}

#[tokio::test]
async fn the_code_of_a_pushed_request_is_bound_to_the_key_that_was_proved_rfc9449_10_1() {
    let world = World::new();
    let config = configured(json!({}));
    let [key, other] = [(); 2].map(|()| ProofKey::new(Algorithm::ES256));
    let request = json!({"client_id": "app", "response_type": "code"});
    let announced = json!({"client_id": "app", "response_type": "code", "dpop_jkt": key.thumbprint()});
    for (key_of_push, request) in [(Some(&key), &request), (None, &announced), (Some(&key), &announced)] {
        let pushed = send(&world, &config, PAR, key_of_push, request.clone()).await;
        assert_eq!(pushed.status, 201, "{}", pushed.body);
        let code = code_of(&world, &config, &pushed).await;
        let refused = send(&world, &config, TOKEN, Some(&other), redemption(&code)).await;
        assert_eq!((refused.status, refused.error().1), (400, "invalid_grant"));
        let redeemed = send(&world, &config, TOKEN, Some(&key), redemption(&code)).await;
        assert_eq!((redeemed.status, &redeemed.body["token_type"]), (200, &json!("DPoP")));
    }
    let refused = send(&world, &config, PAR, Some(&other), announced).await;
    let description = "The key of the DPoP proof is not that of dpop_jkt";
    assert_eq!(refused.error(), (400, "invalid_dpop_proof", description));
    let pushed = send(&world, &config, PAR, None, request).await;
    let code = code_of(&world, &config, &pushed).await;
    assert_eq!(send(&world, &config, TOKEN, Some(&other), redemption(&code)).await.status, 200, "bound to none");
}

#[tokio::test]
async fn what_the_login_page_announces_of_a_pushed_request_is_ignored() {
    let world = World::new();
    let config = configured(json!({}));
    let [key, other] = [(); 2].map(|()| ProofKey::new(Algorithm::ES256));
    let pushed = send(&world, &config, PAR, Some(&key), json!({"client_id": "app", "response_type": "code"})).await;
    let own = json!({
        "client_id": "app", "request_uri": pushed.text("request_uri"), "dpop_jkt": other.thumbprint(),
    });
    let code = world.code(&config, own).await;
    assert_eq!(send(&world, &config, TOKEN, Some(&other), redemption(&code)).await.error().1, "invalid_grant");
    assert_eq!(send(&world, &config, TOKEN, Some(&key), redemption(&code)).await.status, 200);
}

#[tokio::test]
async fn a_device_that_has_proved_its_key_proves_it_again() {
    let world = World::new();
    let config = configured(json!({}));
    let [key, other] = [(); 2].map(|()| ProofKey::new(Algorithm::ES256));
    let begun = send(&world, &config, BEGIN, Some(&key), json!({"client_id": "app"})).await;
    let poll = json!({"client_id": "app", "grant_type": DEVICE_CODE, "device_code": begun.text("device_code")});
    let approve = json!({
        "provision_key": "provision123", "authenticated_userid": "kate", "user_code": begun.text("user_code"),
        "action": "approve",
    });
    assert_eq!(world.send(&config, &Post::json("/oauth2/device", &approve)).await.status, 200);
    let refused = send(&world, &config, TOKEN, Some(&other), poll.clone()).await;
    assert_eq!((refused.status, refused.error().1), (400, "invalid_grant"));
    let missing = send(&world, &config, TOKEN, None, poll.clone()).await;
    assert_eq!(missing.error(), (400, "invalid_dpop_proof", "A DPoP proof is required"));
    let token = send(&world, &config, TOKEN, Some(&key), poll).await;
    assert_eq!((token.status, &token.body["token_type"]), (200, &json!("DPoP")));
    let binding = world.ledger.tokens.lock().unwrap()[0].binding.clone().unwrap();
    assert_eq!(binding.confirmation, Some(Confirmation::Key(key.thumbprint())));
}

#[tokio::test]
async fn where_proofs_have_nonces_every_response_has_one_rfc9449_8() {
    let world = World::new();
    let config = configured(json!({"dpop_nonce": true}));
    let key = ProofKey::new(Algorithm::ES256);
    for (path, members) in
        [(PAR, json!({"client_id": "app", "response_type": "code"})), (BEGIN, json!({"client_id": "app"}))]
    {
        let refused = send(&world, &config, path, Some(&key), members).await;
        assert_eq!((refused.status, refused.error().1), (400, "use_dpop_nonce"), "{path}");
        assert!(refused.headers.contains_key("dpop-nonce"), "{path}");
    }
}

#[tokio::test]
async fn a_signed_token_names_the_key_that_it_is_bound_to_rfc9449_6_1() {
    let world = World::new();
    let config = configured(json!({"token_format": "jwt", "issuer": "https://as.test"}));
    let key = ProofKey::new(Algorithm::ES256);
    let members = json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "client_credentials"});
    let token = send(&world, &config, TOKEN, Some(&key), members.clone()).await.text("access_token");
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["cnf"], json!({"jkt": key.thumbprint()}));
    assert_eq!(world.ledger.tokens.lock().unwrap()[0].access_token, Digest::of(&token));
}

const CERTIFICATE: &str = "The client must connect with a certificate";
const PROOF: &str = "A DPoP proof is required";

#[tokio::test]
async fn what_tokens_have_to_be_bound_to_is_required_when_they_are_asked_for_rfc9449_10_1() {
    let key = ProofKey::new(Algorithm::ES256);
    let jkt = json!({"dpop_jkt": key.thumbprint()});
    let (nothing, proof, certificate, both) =
        ((None, None), (Some(&key), None), (None, Some("a")), (Some(&key), Some("a")));
    let (no_proof, no_certificate) = (Err(("invalid_dpop_proof", PROOF)), Err(("invalid_request", CERTIFICATE)));
    for (patch, given, announced, expected) in [
        (json!({"dpop": "required"}), nothing, json!({}), no_proof),
        (json!({"dpop": "required"}), certificate, json!({}), no_proof),
        (json!({"dpop": "required"}), proof, json!({}), Ok(())),
        (json!({"dpop": "required"}), nothing, jkt.clone(), Ok(())),
        (json!({"dpop": "off", "mtls_bound_tokens": "required"}), nothing, json!({}), no_certificate),
        (json!({"dpop": "off", "mtls_bound_tokens": "required"}), nothing, jkt.clone(), no_certificate),
        (json!({"dpop": "optional", "mtls_bound_tokens": "required"}), proof, json!({}), no_certificate),
        (json!({"dpop": "optional", "mtls_bound_tokens": "required"}), both, json!({}), Ok(())),
        (json!({"dpop": null, "sender_constraint": "any"}), nothing, json!({}), no_proof),
        (json!({"dpop": null, "sender_constraint": "any"}), certificate, json!({}), Ok(())),
        (json!({"dpop": null, "sender_constraint": "any"}), nothing, jkt.clone(), Ok(())),
        (json!({"dpop": "optional"}), nothing, json!({}), Ok(())),
    ] {
        let (world, config) = (World::new(), configured(patch.clone()));
        for (path, members) in
            [(PAR, json!({"client_id": "app", "response_type": "code"})), (BEGIN, json!({"client_id": "app"}))]
        {
            let mut members = members;
            merge(&mut members, announced.clone());
            let response = send_as(&world, &config, path, given, members).await;
            let row = format!("{path} {patch} {announced} {:?}", given.1);
            match expected {
                Ok(()) => assert!(matches!(response.status, 200 | 201), "{row}: {}", response.body),
                Err((error, description)) => assert_eq!(response.error(), (400, error, description), "{row}"),
            }
        }
    }
}

/// A redemption for what was begun in each way, and the world's config.
async fn begun_with(world: &World, config: &Config, path: &str, given: (Option<&ProofKey>, Option<&str>)) -> Value {
    if path == PAR {
        let pushed = send_as(world, config, PAR, given, json!({"client_id": "app", "response_type": "code"})).await;
        return redemption(&code_of(world, config, &pushed).await);
    }
    let begun = send_as(world, config, BEGIN, given, json!({"client_id": "app"})).await;
    let approve = json!({
        "provision_key": "provision123", "authenticated_userid": "kate", "user_code": begun.text("user_code"),
        "action": "approve",
    });
    assert_eq!(world.send(config, &Post::json("/oauth2/device", &approve)).await.status, 200);
    json!({"client_id": "app", "grant_type": DEVICE_CODE, "device_code": begun.text("device_code")})
}

#[tokio::test]
async fn what_was_begun_with_a_certificate_is_redeemed_with_it_rfc8705_3() {
    let other_sender = "The code or refresh token is bound to another key or certificate";
    let key = ProofKey::new(Algorithm::ES256);
    for mtls in ["optional", "required"] {
        for path in [PAR, BEGIN] {
            let (world, config) = (World::new(), configured(json!({"mtls_bound_tokens": mtls})));
            let members = begun_with(&world, &config, path, (None, Some("a"))).await;
            let redeem = async |given| send_as(&world, &config, TOKEN, given, members.clone()).await;
            assert_eq!(redeem((None, None)).await.error(), (400, "invalid_request", CERTIFICATE), "{mtls} {path}");
            for given in [(None, Some("b")), (Some(&key), Some("b"))] {
                assert_eq!(redeem(given).await.error(), (400, "invalid_grant", other_sender), "{mtls} {path}");
            }
            let token = redeem((None, Some("a"))).await;
            assert_eq!((token.status, &token.body["token_type"]), (200, &json!("bearer")), "{mtls} {path}");
            let binding = world.ledger.tokens.lock().unwrap()[0].binding.clone().unwrap();
            assert_eq!(binding.confirmation, Some(Confirmation::Certificate("a".to_owned())));
        }
    }
}

#[tokio::test]
async fn a_client_that_begins_with_its_certificate_may_prove_a_key_beside_it() {
    let key = ProofKey::new(Algorithm::ES256);
    for path in [PAR, BEGIN] {
        let (world, config) = (World::new(), configured(json!({"mtls_bound_tokens": "optional"})));
        let members = begun_with(&world, &config, path, (None, Some("a"))).await;
        let token = send_as(&world, &config, TOKEN, (Some(&key), Some("a")), members).await;
        assert_eq!((token.status, &token.body["token_type"]), (200, &json!("DPoP")), "{path}");
    }
}

#[tokio::test]
async fn nobody_can_announce_a_certificate() {
    let (world, config) = (World::new(), configured(json!({"mtls_bound_tokens": "optional"})));
    let pushed = json!({"client_id": "app", "response_type": "code", "x5t#S256": "a", "cnf": {"x5t#S256": "a"}});
    let pushed = send(&world, &config, PAR, None, pushed).await;
    let own = json!({"client_id": "app", "request_uri": pushed.text("request_uri"), "x5t#S256": "a"});
    let code = world.code(&config, own).await;
    assert_eq!(world.ledger.codes.lock().unwrap()[0].binding, None);
    assert_eq!(send(&world, &config, TOKEN, None, redemption(&code)).await.status, 200);
}
