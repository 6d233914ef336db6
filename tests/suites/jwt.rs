//! JSON Web Tokens of consumers: which are accepted, where they are looked for, which requests are refused and how, and
//! what the upstream sees.

mod credentials;

use std::time::{Duration, Instant, SystemTime};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, laid_over};
use tollgate_tests::signing_key::{ALGORITHMS, encode};
use tollgate_tests::{Findings, Gateway, Reply, SigningKey, Upstream};

const SECRET: &str = "a secret that only bob and the gateway know";
const INVALID: &str = "Bearer error=\"invalid_token\"";

/// A route `/{name}` with this configuration.
async fn protected(gateway: &Gateway, name: &str, upstream: &Upstream, config: Value) {
    Api::open(gateway, name, upstream).await;
    gateway.create(&format!("/services/{name}/plugins"), json!({"name": "jwt", "config": config})).await;
}

/// A credential of the consumer `bob` with the key `bob` and [`SECRET`], unless other fields are given.
async fn credential_of_bob(gateway: &Gateway, fields: Value) -> Value {
    gateway.admin(Method::PUT, "/consumers/bob", json!({"custom_id": "b-1"})).await.expect(200);
    gateway.create("/consumers/bob/jwt", laid_over(json!({"key": "bob", "secret": SECRET}), fields)).await
}

fn secret() -> SigningKey {
    SigningKey::hmac("HS256", SECRET.as_bytes())
}

fn of_bob() -> String {
    secret().token(&json!({"iss": "bob"}))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = gateway.request(Method::GET, path);
    gateway.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

async fn present(gateway: &Gateway, path: &str, token: &str) -> Reply {
    get(gateway, path, &[("authorization", &bearer(token))]).await
}

/// Status, whole body and challenge.
fn refusal(reply: &Reply) -> (u16, String, Option<String>) {
    (reply.status, reply.body.clone(), reply.header("www-authenticate"))
}

fn refused(message: &str, challenge: &str) -> (u16, String, Option<String>) {
    (401, json!({"message": message}).to_string(), Some(challenge.to_owned()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Sends requests until the status is this one.
async fn until(gateway: &Gateway, path: &str, token: &str, status: u16, bound: Duration, what: &str) {
    let begun = Instant::now();
    loop {
        let reply = present(gateway, path, token).await;
        if reply.status == status {
            return;
        }
        assert!(begun.elapsed() < bound, "{what}: still {} after {bound:?}", reply.status);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_every_algorithm_are_verified() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({})).await;
    let of = |algorithm: &'static str| match algorithm {
        "HS256" | "HS384" | "HS512" => SigningKey::hmac(algorithm, SECRET.as_bytes()),
        _ => SigningKey::generate(algorithm),
    };
    let mut keys: Vec<SigningKey> = ALGORITHMS.map(of).into();
    keys.push(SigningKey::ed448());
    let mut findings = Findings::new();
    for (number, key) in keys.iter().enumerate() {
        let name = format!("{number}-{}", key.algorithm());
        let mut fields = json!({"key": name, "algorithm": key.algorithm()});
        if !key.algorithm().starts_with("HS") {
            fields["rsa_public_key"] = json!(key.public_pem());
        }
        credential_of_bob(&gateway, fields).await;
        let token = key.token(&json!({"iss": name}));
        let reply = present(&gateway, "/api/x", &token).await;
        let seen = reply.content()["headers"]["x-credential-identifier"].clone();
        findings.compare(&name, &(200, json!([name])), &(reply.status, seen));
        for (other, forger) in keys.iter().enumerate().filter(|(other, _)| *other != number) {
            // The forger writes the algorithm of the credential into the header.
            let header = json!({"alg": key.algorithm()}).to_string();
            let forged = forger.sign(&header, &json!({"iss": name}).to_string());
            let got = refusal(&present(&gateway, "/api/x", &forged).await);
            findings.compare(&format!("{name} by {other}"), &refused("Invalid signature", INVALID), &got);
            let honest = forger.token(&json!({"iss": name}));
            let got = refusal(&present(&gateway, "/api/x", &honest).await);
            let text = if forger.algorithm() == key.algorithm() { "Invalid signature" } else { "Invalid algorithm" };
            findings.compare(&format!("{name} with the algorithm of {other}"), &refused(text, INVALID), &got);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_looked_for_in_the_configured_places() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({})).await;
    let config =
        json!({"uri_param_names": ["token"], "cookie_names": ["silly", "crumble"], "header_names": ["X-Custom"]});
    protected(&gateway, "other", &upstream, config).await;
    credential_of_bob(&gateway, json!({})).await;
    let token = of_bob();
    let (scheme, cookie) = (bearer(&token), format!("a=1; crumble={token}; path=/"));
    let rows = [
        (format!("/api/x?jwt={token}"), None, 200),
        (format!("/api/x?jwt={token}&jwt={token}"), None, 200),
        (format!("/api/x?token={token}"), None, 401),
        ("/api/x".to_owned(), Some(("authorization", scheme.as_str())), 200),
        (format!("/api/x?jwt={token}"), Some(("authorization", scheme.as_str())), 200),
        (format!("/api/x?jwt={token}x"), Some(("authorization", scheme.as_str())), 401),
        ("/api/x".to_owned(), Some(("authorization", token.as_str())), 401),
        ("/api/x".to_owned(), Some(("cookie", cookie.as_str())), 401),
        ("/other/x".to_owned(), Some(("cookie", cookie.as_str())), 200),
        ("/other/x".to_owned(), Some(("x-custom", scheme.as_str())), 200),
        ("/other/x".to_owned(), Some(("authorization", scheme.as_str())), 401),
        (format!("/other/x?token={token}"), None, 200),
        (format!("/other/x?jwt={token}"), None, 401),
    ];
    let mut findings = Findings::new();
    for (path, header, status) in rows {
        let reply = get(&gateway, &path, header.as_slice()).await;
        findings.compare(&format!("{path} {header:?}"), &status, &reply.status);
        if status == 200 {
            let seen = &reply.content()["uri"];
            let sent = path.strip_prefix("/api").or_else(|| path.strip_prefix("/other")).unwrap();
            findings.compare("the token stays in the request", &json!(sent), seen);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_message_and_its_challenge() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({})).await;
    protected(
        &gateway,
        "realm",
        &upstream,
        json!({"realm": "test-jwt", "key_claim_name": "sub", "header_names": ["authorization", "x-jwt"]}),
    )
    .await;
    credential_of_bob(&gateway, json!({})).await;
    let rsa = SigningKey::generate("RS256");
    credential_of_bob(&gateway, json!({"key": "rsa", "algorithm": "RS256", "rsa_public_key": rsa.public_pem()})).await;
    let pem = rsa.public_pem();
    let token = of_bob();
    let (input, _) = token.rsplit_once('.').unwrap();
    let none = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(r#"{"iss":"bob"}"#));
    let sign = |header: &str, claims: &str| secret().sign(header, claims);
    let header = r#"{"alg":"HS256"}"#;
    let public = SigningKey::hmac("HS256", pem.as_bytes());
    let rows = [
        ("opaque".to_owned(), "Bad token; invalid JSON"),
        (format!("{token}.x"), "Bad token; invalid signature"),
        (format!("{token}="), "Bad token; invalid signature"),
        (format!("{input}."), "Invalid signature"),
        (sign(header, r#"{"iss":"eve","iss":"bob"}"#), "Bad token; invalid JSON"),
        (sign(r#"{"alg":"none","alg":"HS256"}"#, r#"{"iss":"bob"}"#), "Bad token; invalid JSON"),
        (none, "Bad token; invalid alg"),
        (sign(header, "[]"), "Bad token; invalid claims"),
        (sign(header, &json!({"iss": "bob", "a": "a".repeat(15_000)}).to_string()), "Bad token; too long"),
        (sign(header, "{}"), "No mandatory 'iss' in claims"),
        (sign(header, r#"{"iss":""}"#), "Invalid 'iss' in claims"),
        (sign(header, r#"{"iss":["bob"]}"#), "Invalid 'iss' in claims"),
        (sign(header, r#"{"iss":"bob\u0000"}"#), "No credentials found for given 'iss'"),
        (sign(header, r#"{"iss":"eve"}"#), "No credentials found for given 'iss'"),
        (public.sign(header, r#"{"iss":"rsa"}"#), "Invalid algorithm"),
        (public.sign(r#"{"alg":"RS256"}"#, r#"{"iss":"rsa"}"#), "Invalid signature"),
        (SigningKey::hmac("HS256", b"foo").token(&json!({"iss": "bob"})), "Invalid signature"),
    ];
    let mut findings = Findings::new();
    for (token, message) in rows {
        for round in ["first", "again"] {
            let reply = present(&gateway, "/api/x", &token).await;
            let row = format!("{round}: {message}: {}", &token[..token.len().min(80)]);
            findings.compare(&row, &refused(message, INVALID), &refusal(&reply));
            findings.compare(
                "JSON",
                &Some("application/json; charset=utf-8".to_owned()),
                &reply.header("content-type"),
            );
        }
    }
    let with_realm = "Bearer realm=\"test-jwt\", error=\"invalid_token\"";
    for (path, headers, expected) in [
        ("/api/x", &[][..], refused("Unauthorized", "Bearer")),
        ("/api/x?jwt=", &[("authorization", "Basic YTpi")], refused("Unauthorized", "Bearer")),
        ("/api/x?jwt", &[], refused("Unrecognizable token", INVALID)),
        ("/api/x?jwt=a", &[("authorization", "Bearer b")], refused("Multiple tokens provided", INVALID)),
        ("/api/x", &[("accept", "text/html")], refused("Unauthorized", "Bearer")),
        ("/realm/x", &[], refused("Unauthorized", "Bearer realm=\"test-jwt\"")),
        ("/realm/x?jwt=a", &[], refused("Bad token; invalid JSON", with_realm)),
        ("/realm/x", &[("x-jwt", "Bearer a"), ("x_jwt", "Bearer a")], refused("Multiple tokens provided", with_realm)),
    ] {
        findings.compare(&format!("{path} {headers:?}"), &expected, &refusal(&get(&gateway, path, headers).await));
    }
    let reply = present(&gateway, "/realm/x", &token).await;
    findings.compare("another claim", &refused("No mandatory 'sub' in claims", with_realm), &refusal(&reply));
    let call = gateway.request(Method::POST, "/api/x").header("content-type", "application/grpc");
    let reply = gateway.send(call).await;
    let headers =
        ["grpc-status", "grpc-message", "www-authenticate"].map(|name| reply.header(name).unwrap_or_default());
    findings.compare("a gRPC call", &(401, ""), &(reply.status, reply.body.as_str()));
    findings.compare("its headers", &["16", "Unauthenticated", "Bearer"].map(str::to_owned), &headers);
    findings.compare("nothing reached the upstream", &0, &upstream.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_checked_as_configured() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "any", &upstream, json!({})).await;
    protected(&gateway, "checked", &upstream, json!({"claims_to_verify": ["nbf", "exp"]})).await;
    let limited = json!({"claims_to_verify": ["exp"], "maximum_expiration": 300});
    protected(&gateway, "limited", &upstream, limited).await;
    credential_of_bob(&gateway, json!({})).await;
    let now = now();
    let passed = || (200, Value::Null);
    let refused = |body: Value| (401, body);
    let rows = [
        ("any", json!({"exp": 1}), passed()),
        ("checked", json!({}), refused(json!({"exp": "must be a number", "nbf": "must be a number"}))),
        ("checked", json!({"exp": "9999999999", "nbf": 0}), refused(json!({"exp": "must be a number"}))),
        ("checked", json!({"exp": now - 10, "nbf": now - 10}), refused(json!({"exp": "token expired"}))),
        ("checked", json!({"exp": now + 100, "nbf": now + 60}), refused(json!({"nbf": "token not valid yet"}))),
        ("checked", json!({"exp": now + 100, "nbf": now - 10}), passed()),
        ("limited", json!({"exp": now + 3_600}), refused(json!({"exp": "exceeds maximum allowed expiration"}))),
        ("limited", json!({"exp": now + 270}), passed()),
    ];
    let mut findings = Findings::new();
    for (name, claims, expected) in rows {
        let token = secret().token(&laid_over(json!({"iss": "bob"}), claims.clone()));
        for _ in 0..2 {
            let reply = present(&gateway, &format!("/{name}/x"), &token).await;
            let got = if reply.status == 200 { passed() } else { refused(reply.json()) };
            findings.compare(&format!("{name} {claims}"), &expected, &got);
            let challenge = (reply.status != 200).then(|| INVALID.to_owned());
            findings.compare("challenge", &challenge, &reply.header("www-authenticate"));
        }
    }
    // A token that has passed expires.
    let short = secret().token(&json!({"iss": "bob", "nbf": 0, "exp": self::now() + 2}));
    present(&gateway, "/checked/x", &short).await.expect(200);
    until(&gateway, "/checked/x", &short, 401, Duration::from_secs(10), "a token with two seconds to live").await;
    assert_eq!(present(&gateway, "/checked/x", &short).await.body, r#"{"exp":"token expired"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_credentials_consumer_and_not_the_clients_claims() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let stranger = gateway.create("/consumers", json!({"username": "stranger"})).await;
    protected(&gateway, "api", &upstream, json!({"anonymous": "stranger"})).await;
    protected(&gateway, "byid", &upstream, json!({"anonymous": stranger["id"]})).await;
    protected(&gateway, "nobody", &upstream, json!({"anonymous": "nobody-there"})).await;
    let credential = credential_of_bob(&gateway, json!({})).await;
    const NAMES: [&str; 5] = [
        "x-consumer-id",
        "x-consumer-custom-id",
        "x-consumer-username",
        "x-credential-identifier",
        "x-anonymous-consumer",
    ];
    let bob = json!([[credential["consumer"]["id"]], ["b-1"], ["bob"], ["bob"], null]);
    let anonymous = json!([[stranger["id"]], null, ["stranger"], null, ["true"]]);
    let forged = NAMES.map(|name| (name, "forged"));
    let (right, wrong) = (bearer(&of_bob()), bearer("wrong"));
    let mut findings = Findings::new();
    for path in ["/api/x", "/byid/x"] {
        for (value, expected) in [(Some(&right), &bob), (Some(&wrong), &anonymous), (None, &anonymous)] {
            let token = value.map(|value| ("authorization", value.as_str()));
            let headers: Vec<_> = forged.iter().copied().chain(token).collect();
            let reply = get(&gateway, path, &headers).await;
            let seen = reply.content()["headers"].clone();
            let got: Vec<Value> = NAMES.iter().map(|name| seen[*name].clone()).collect();
            findings.compare(&format!("{path} with {value:?}"), &(200, expected), &(reply.status, &json!(got)));
            findings.compare("the token", &json!(value.map(|value| [value])), &seen["authorization"]);
        }
    }
    let reply = get(&gateway, "/nobody/x", &[]).await.expect(500);
    let message = "anonymous consumer nobody-there is configured but doesn't exist";
    findings.compare("nobody", &json!(message), &reply.json()["message"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_a_token_unless_it_is_configured_not_to() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({})).await;
    protected(&gateway, "passed", &upstream, json!({"run_on_preflight": false})).await;
    let mut findings = Findings::new();
    for (method, path, status) in [
        (Method::OPTIONS, "/api/x", 401),
        (Method::OPTIONS, "/passed/x", 200),
        (Method::GET, "/passed/x", 401),
        (Method::POST, "/passed/x", 401),
    ] {
        let reply = gateway.send(gateway.request(method.clone(), path)).await;
        findings.compare(&format!("{method} {path}"), &status, &reply.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_may_be_stored_in_base64() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "plain", &upstream, json!({})).await;
    protected(&gateway, "encoded", &upstream, json!({"secret_is_base64": true})).await;
    let rsa = SigningKey::generate("RS256");
    let public = json!({"key": "rsa", "algorithm": "RS256", "rsa_public_key": rsa.public_pem()});
    credential_of_bob(&gateway, public).await;
    credential_of_bob(&gateway, json!({"secret": "+/+/c2VjcmV0IG9mIGJvYg=="})).await;
    credential_of_bob(&gateway, json!({"key": "words", "secret": "no base64 at all"})).await;
    let raw = SigningKey::hmac("HS256", b"\xfb\xff\xbfsecret of bob").token(&json!({"iss": "bob"}));
    let text = SigningKey::hmac("HS256", b"+/+/c2VjcmV0IG9mIGJvYg==").token(&json!({"iss": "bob"}));
    let words = SigningKey::hmac("HS256", b"no base64 at all").token(&json!({"iss": "words"}));
    let rsa = rsa.token(&json!({"iss": "rsa"}));
    let mut findings = Findings::new();
    for (path, what, token, message) in [
        ("/encoded/x", "the decoded secret", &raw, None),
        ("/encoded/x", "the stored text", &text, Some("Invalid signature")),
        ("/encoded/x", "no base64", &words, Some("Invalid key/secret")),
        ("/encoded/x", "a public key", &rsa, None),
        ("/plain/x", "the decoded secret", &raw, Some("Invalid signature")),
        ("/plain/x", "the stored text", &text, None),
        ("/plain/x", "a public key", &rsa, None),
    ] {
        let reply = present(&gateway, path, token).await;
        let got = (reply.status != 200).then(|| reply.json()["message"].clone());
        findings.compare(&format!("{path}: {what}"), &message.map(Value::from), &got);
    }
}
