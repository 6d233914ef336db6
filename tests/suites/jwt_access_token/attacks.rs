//! Tokens that nobody should accept: each is refused with the one response that says nothing about the reason.

use tollgate_tests::SigningKey;
use tollgate_tests::signing_key::encode;

use super::*;

/// Keys of each type, which the issuer publishes.
struct Keys {
    rsa: IssuerKey,
    ec: IssuerKey,
    ed: IssuerKey,
}

impl Keys {
    fn new() -> Self {
        let generate = IssuerKey::generate;
        Self { rsa: generate("rsa", "RS256"), ec: generate("ec", "ES256"), ed: generate("ed", "EdDSA") }
    }

    fn all(&self) -> [&IssuerKey; 3] {
        [&self.rsa, &self.ec, &self.ed]
    }
}

/// A world whose issuer has all those keys, and fetches them once only.
async fn world(keys: &Keys) -> World {
    let world = World::with(keys.ec.clone()).await;
    world.issuer.publish(&keys.all());
    let entry = json!({"audience": ["https://api.example"], "key_min_refresh": 3600, "key_refresh": 3600});
    world.protect("api", json!({"issuers": [world.entry(entry)]})).await;
    world
}

/// All are refused, without another fetch of keys and without a call to the upstream.
async fn are_refused(world: &World, rows: Vec<(String, String)>) {
    let mut findings = Findings::new();
    let good = world.get("/api/x", &world.token(json!({}))).await;
    findings.compare("a good token", &200, &good.status);
    for (row, token) in rows {
        findings.compare(&row, &invalid(), &whole(&world.get("/api/x", &token).await));
    }
    findings.compare(
        "requests to the upstream, and to the issuer",
        &(1, 1),
        &(world.upstream.requests(), world.issuer.requests().len()),
    );
}

fn row(name: impl Into<String>, token: String) -> (String, String) {
    (name.into(), token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_cannot_choose_how_it_is_verified() {
    let keys = Keys::new();
    let world = world(&keys).await;
    let thief = IssuerKey::generate("thief", "ES256");
    let their_issuer = Issuer::start(&[&thief]).await;
    let claims = world.claims(json!({}));
    let unsigned = |alg: &str| format!("{}.{}", encode(json!({"alg": alg}).to_string()), encode(claims.to_string()));
    let mut rows = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        rows.push(row(format!("alg {alg:?}"), format!("{}.", unsigned(alg))));
        let signature = keys.ec.signing.signature(unsigned(alg).as_bytes());
        rows.push(row(format!("alg {alg:?} with a signature"), format!("{}.{}", unsigned(alg), encode(signature))));
    }
    for key in keys.all() {
        for (what, secret) in
            [("PEM", key.signing.public_pem().into_bytes()), ("JWK", key.jwk().to_string().into_bytes())]
        {
            for kid in [json!({"alg": "HS256"}), json!({"alg": "HS256", "kid": key.id})] {
                let signed = format!("{}.{}", encode(kid.to_string()), encode(claims.to_string()));
                let token =
                    format!("{signed}.{}", encode(SigningKey::hmac("HS256", &secret).signature(signed.as_bytes())));
                rows.push(row(format!("HMAC with the {what} of {}: {kid}", key.id), token));
            }
        }
        for alg in ["RS256", "PS256", "RS512", "ES256", "ES384", "EdDSA", "RS256 ", "es256", "ES256K"] {
            if alg != key.signing.algorithm() {
                let token = key.token_with(&json!({"alg": alg, "kid": key.id}), &claims);
                rows.push(row(format!("{} says that it is {alg}", key.id), token));
            }
        }
        for other in keys.all().into_iter().filter(|other| other.id != key.id) {
            let token = key.token_with(&json!({"alg": other.signing.algorithm(), "kid": other.id}), &claims);
            rows.push(row(format!("{} says that it is {}", key.id, other.id), token));
        }
    }
    for kid in [json!("thief"), json!(""), json!("../../etc/passwd"), json!("ec' OR '1'='1"), json!("EC"), json!("rsa")]
    {
        let token = keys.ec.token_with(&json!({"alg": "ES256", "kid": kid}), &claims);
        rows.push(row(format!("kid {kid}"), token));
    }
    let url = their_issuer.keys_url();
    for header in [
        json!({"alg": "ES256", "jwk": thief.jwk()}),
        json!({"alg": "ES256", "kid": "ec", "jwk": thief.jwk()}),
        json!({"alg": "ES256", "kid": "thief", "jku": url}),
        json!({"alg": "ES256", "jku": url, "x5u": url}),
        json!({"alg": "ES256", "kid": url}),
        json!({"alg": "ES256", "x5c": [encode(thief.signing.public_pem())]}),
    ] {
        rows.push(row(format!("another key with {header}"), thief.token_with(&header, &claims)));
    }
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("exp"), json!(null)] {
        let header = json!({"alg": "ES256", "kid": "ec", "crit": crit, "exp": 1, "b64": false});
        rows.push(row(format!("crit {crit}"), keys.ec.token_with(&header, &claims)));
    }
    are_refused(&world, rows).await;
    assert_eq!(their_issuer.requests(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_somebody_else_or_something_else_is_refused() {
    let keys = Keys::new();
    let world = world(&keys).await;
    let mut rows = Vec::new();
    for claims in [
        json!({"iss": "https://other.example"}),
        json!({"iss": format!("{}/", world.issuer.url())}),
        json!({"iss": world.issuer.url().to_uppercase()}),
        json!({"iss": [world.issuer.url()]}),
        json!({"iss": null}),
        json!({"aud": "https://other.example"}),
        json!({"aud": "https://api.example/"}),
        json!({"aud": ["https://other.example"]}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"aud": {"https://api.example": true}}),
        json!({"aud": ["https://api.example", 1]}),
        json!({"exp": now() - 1}),
        json!({"exp": null}),
        json!({"exp": "soon"}),
        json!({"exp": true}),
        json!({"nbf": now() + 1000}),
        json!({"nbf": "now"}),
        json!({"iat": now() + 1000}),
        json!({"sub": 7}),
        json!({"scope": {"read": true}}),
    ] {
        rows.push(row(claims.to_string(), world.token(claims)));
    }
    for typ in
        [json!("id+jwt"), json!("logout+jwt"), json!("dpop+jwt"), json!(""), json!(1), json!(["at+jwt"]), json!(null)]
    {
        let header = json!({"alg": "ES256", "kid": "ec", "typ": typ});
        rows.push(row(format!("typ {typ}"), keys.ec.token_with(&header, &world.claims(json!({})))));
    }
    are_refused(&world, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_exactly_as_it_was_signed_is_refused() {
    let keys = Keys::new();
    let world = world(&keys).await;
    let claims = world.claims(json!({}));
    let mut rows = Vec::new();
    for key in keys.all() {
        let token = key.token(&claims);
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else { panic!("three parts") };
        for at in [3, header.len() + 10, header.len() + payload.len() + 10, token.len() - 4] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            rows.push(row(format!("{}: another byte at {at}", key.id), String::from_utf8(bytes).unwrap()));
        }
        for (what, changed) in [
            ("truncated", token[..token.len() - 4].to_owned()),
            ("half a signature", format!("{header}.{payload}.{}", &signature[..signature.len() / 2])),
            ("no signature", format!("{header}.{payload}.")),
            ("two parts", format!("{header}.{payload}")),
            ("four parts", format!("{token}.{signature}")),
            ("five parts", format!("{token}.{signature}.{signature}")),
            ("padding", format!("{token}==")),
            ("a longer signature", format!("{token}AAAA")),
            ("a repeated signature", format!("{token}{signature}")),
            ("zeros", format!("{header}.{payload}.{}", encode([0; 64]))),
        ] {
            rows.push(row(format!("{}: {what}", key.id), changed));
        }
    }
    let signed = keys.ec.token(&claims);
    let signed = &signed[..signed.rfind('.').unwrap()];
    let der = keys.ec.signing.openssl_signature(signed.as_bytes());
    rows.push(row("an ECDSA signature in DER", format!("{signed}.{}", encode(der))));
    let header = r#"{"alg":"ES256","kid":"ec"}"#;
    let text = claims.to_string();
    let with = |members: &str| format!("{},{members}}}", &text[..text.len() - 1]);
    for (what, header, payload) in [
        ("a repeated alg", r#"{"alg":"ES256","kid":"ec","alg":"ES256"}"#, text.clone()),
        ("a repeated kid", r#"{"alg":"ES256","kid":"ec","kid":"ec"}"#, text.clone()),
        ("a repeated kid, escaped", r#"{"alg":"ES256","kid":"rsa","k\u0069d":"ec"}"#, text.clone()),
        ("a repeated iss", header, with(&format!("\"iss\":{}", claims["iss"]))),
        ("a repeated exp", header, with("\"exp\":9999999999")),
        ("a member that is repeated inside", header, with(r#""a":{"b":1,"b":1}"#)),
        ("a header that is no object", "[]", text.clone()),
        ("a header that is not JSON", "{alg:ES256}", text.clone()),
        ("a payload that is no object", header, format!("[{text}]")),
        ("a payload that is not JSON", header, "kate".to_owned()),
        ("an empty payload", header, String::new()),
        ("more than a payload", header, format!("{text}{{}}")),
        ("a payload of 16 KiB", header, with(&format!("\"a\":\"{}\"", "a".repeat(16 * 1024)))),
        ("a deep payload", header, with(&format!("\"a\":{}1{}", "[".repeat(100), "]".repeat(100)))),
    ] {
        rows.push(row(what, keys.ec.token_of(header, &payload)));
    }
    rows.push(row(
        "an encrypted token",
        format!("{}.a2V5.aXY.dGV4dA.dGFn", encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)),
    ));
    are_refused(&world, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_token_costs_nobody_anything() {
    let keys = Keys::new();
    let world = world(&keys).await;
    let padding = "a".repeat(75 * 1024);
    let token = keys.ec.token(&world.claims(json!({"padding": padding})));
    assert!(token.len() > 100 * 1024);
    let reply = world.get("/api/x", &token).await;
    assert!((400..500).contains(&reply.status), "{}", reply.status);
    let form = world.gateway.request(Method::POST, "/api/x").form(&[("access_token", &token)]);
    let reply = world.gateway.send(form).await;
    assert!((400..500).contains(&reply.status), "{}", reply.status);
    assert_eq!((world.upstream.requests(), world.issuer.requests().len(), world.verified().await), (0, 0, 0.0));
}
