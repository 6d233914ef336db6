//! Signed responses (RFC 9701).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

use super::*;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What an authority with this key says of an active token.
fn signed(key: &PKey<Private>) -> Response {
    let header = json!({"alg": "EdDSA", "kid": "k1", "typ": "token-introspection+jwt"});
    let introspection = json!({"active": true, "sub": "kate"});
    let claims = json!({"iss": "https://issuer.test", "aud": "gateway", "token_introspection": introspection});
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = Signer::new_without_digest(key).unwrap().sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    Response::of("application/token-introspection+jwt", format!("{signed}.{}", encode(signature)))
}

#[tokio::test(flavor = "multi_thread")]
async fn once_keys_are_configured_only_signed_responses_count() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    let (key, other) = (PKey::generate_ed25519().unwrap(), PKey::generate_ed25519().unwrap());
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": encode(key.raw_public_key().unwrap())});
    let config = json!({"issuer": "https://issuer.test", "jwks": json!({ "keys": [jwk] }).to_string()});
    protected(&gateway, "api", &upstream, &authority, config).await;

    authority.always_responds(Some(signed(&key)));
    let echoed = get(&gateway, "/api/x", "token-number-1-signed").await.expect(200).json();
    assert_eq!(echoed["headers"]["x-credential-sub"], json!(["kate"]));
    let accepted = authority.calls().remove(0).headers["accept"].clone();
    assert_eq!(accepted, ["application/token-introspection+jwt"]);
    authority.always_responds(Some(signed(&other)));
    assert_eq!(refusal(&get(&gateway, "/api/x", "token-number-2-signed").await), unavailable());
    authority.always_responds(Some(Response::json(&json!({"active": true}))));
    assert_eq!(refusal(&get(&gateway, "/api/x", "token-number-3-signed").await), unavailable());
}
