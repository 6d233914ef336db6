//! The fields of `config` (introspection.md §1): their defaults, and what is refused when it is written.

use openssl::pkey::PKey;
use tollgate_tests::Findings;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_field_has_its_default_introspection_1() {
    let gateway = Gateway::on_sqlite().await;
    let config = json!({"introspection_url": "https://issuer.example/i", "authorization_value": AUTHORIZATION});
    let plugin = json!({"name": "oauth2-introspection", "config": config});
    let stored = gateway.create("/plugins", plugin).await;
    let of_contract = json!({
        "introspection_url": "https://issuer.example/i", "authorization_value": AUTHORIZATION,
        "token_type_hint": null, "ttl": 30, "timeout": 10000, "keepalive": 60000, "introspect_request": false,
        "custom_introspection_headers": {}, "custom_claims_forward": [], "consumer_by": "username",
        "hide_credentials": true, "run_on_preflight": true, "anonymous": null,
    });
    let beyond = json!({
        "issuer": null, "auth_method": "authorization_value", "client_id": null, "client_secret": null,
        "client_key": null, "client_key_id": null, "client_key_algorithm": null, "client_assertion_audience": null,
        "jwks_uri": null, "jwks": null, "tls_verify": true, "tls_ca": null,
        "tls_client_certificate": null, "tls_client_key": null, "authorities": [], "realm": null,
        "required_scopes": [], "required_scopes_match": "all", "scope_claim": "scope", "required_audience": [],
        "required_claims": [], "serve_stale_for": 0, "serve_cached_for": null,
    });
    assert_eq!(stored["config"], laid_over(of_contract, beyond));
    assert_eq!(stored["protocols"], json!(["grpc", "grpcs", "http", "https"]));
    let schema = gateway.admin_get("/schemas/plugins/oauth2-introspection").await.expect(200).json();
    let fields = schema["fields"].as_array().unwrap();
    let config = fields.iter().find_map(|field| field.get("config")).unwrap()["fields"].as_array().unwrap();
    let secret = |field: &Value| {
        let (name, field) = field.as_object().unwrap().iter().next().unwrap();
        (field["encrypted"] == true).then(|| name.clone())
    };
    let secrets: Vec<_> = config.iter().filter_map(secret).collect();
    assert_eq!(secrets, ["authorization_value", "client_secret", "client_key", "tls_client_key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_is_refused_when_it_is_written() {
    const MISSING: &str = "required field missing";
    const TIME: &str = "value should be between 0 and 315360000";
    let gateway = Gateway::on_sqlite().await;
    let own = gateway.addresses.admin.to_string();
    let own_message = format!(
        "{} is a listener of this gateway; outbound calls go there only if the setting outbound.allowed_addresses \
         contains it",
        own.trim_start_matches("http://").trim_end_matches('/')
    );
    let pem = |key: &PKey<openssl::pkey::Private>| String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let key = pem(&PKey::generate_ed25519().unwrap());
    let assertion = json!({"auth_method": "private_key_jwt", "client_id": "gateway"});
    let url = "expected an absolute http or https URL, such as https://issuer.example/path";
    let metadata = "169.254.169.254:80 is the address of a cloud's metadata service; outbound calls go there only if \
                    the setting outbound.allowed_addresses contains it";
    let element = |fields: Value| {
        let minimum = json!({"introspection_url": "https://issuer.example/i", "authorization_value": AUTHORIZATION});
        json!({"authorities": [minimum.clone(), laid_over(minimum, fields)]})
    };
    let rows = [
        (json!({"introspection_url": null}), json!({"introspection_url": MISSING})),
        (json!({"authorization_value": null}), json!({"authorization_value": MISSING})),
        (
            json!({"authorization_value": null, "introspection_url": null}),
            json!({"authorization_value": MISSING, "introspection_url": MISSING}),
        ),
        (
            json!({"authorization_value": "Basic a\r\nX: b"}),
            json!({"authorization_value": "must not contain control characters"}),
        ),
        (json!({"introspection_url": "issuer.example"}), json!({"introspection_url": url})),
        (json!({"introspection_url": "ldap://issuer.example"}), json!({"introspection_url": url})),
        (
            json!({"introspection_url": "https://a:b@issuer.example/"}),
            json!({"introspection_url": "must not contain credentials; use authorization_value, or client_id and client_secret"}),
        ),
        (json!({"introspection_url": own}), json!({"introspection_url": own_message})),
        (json!({"introspection_url": "http://169.254.169.254/x"}), json!({"introspection_url": metadata})),
        (
            element(json!({"introspection_url": "http://169.254.169.254/x"})),
            json!({"authorities": [null, {"introspection_url": metadata}]}),
        ),
        (
            element(json!({"authorization_value": null})),
            json!({"authorities": [null, {"authorization_value": MISSING}]}),
        ),
        (json!({"ttl": -1}), json!({"ttl": TIME})),
        (json!({"serve_stale_for": -1}), json!({"serve_stale_for": TIME})),
        (json!({"timeout": 0}), json!({"timeout": "value should be between 1 and 2147483646"})),
        (json!({"keepalive": -1}), json!({"keepalive": "value should be between 0 and 2147483646"})),
        (json!({"consumer_by": "sub"}), json!({"consumer_by": "expected one of: username, client_id"})),
        (
            json!({"custom_claims_forward": (0..54).map(|number| format!("c{number}")).collect::<Vec<_>>()}),
            json!({"custom_claims_forward": "at most 53 different claims, besides the registered ones, may be forwarded or required"}),
        ),
        (
            json!({"custom_introspection_headers": {"a b": "c"}}),
            json!({"custom_introspection_headers": "'a b' is not a valid header name"}),
        ),
        (
            json!({"custom_introspection_headers": {"Host": "c"}}),
            json!({"custom_introspection_headers": "the gateway itself writes 'Host'"}),
        ),
        (
            json!({"custom_introspection_headers": {"X-A": "c\nd"}}),
            json!({"custom_introspection_headers": "must not contain control characters"}),
        ),
        (
            json!({"custom_introspection_headers": {"X-A": "c", "x-a": "d"}}),
            json!({"custom_introspection_headers": "'x-a' is given twice"}),
        ),
        (
            json!({"custom_claims_forward": ["a.b", "a_b"]}),
            json!({"custom_claims_forward": "'a_b' and 'a.b' would both be sent as X-Credential-A-B"}),
        ),
        (json!({"auth_method": "client_secret_basic"}), json!({"client_id": MISSING, "client_secret": MISSING})),
        (json!({"auth_method": "client_secret_post", "client_id": "gateway"}), json!({"client_secret": MISSING})),
        (json!({"auth_method": "private_key_jwt"}), json!({"client_id": MISSING, "client_key": MISSING})),
        (json!({"auth_method": "tls_client_auth"}), json!({"client_id": MISSING, "tls_client_certificate": MISSING})),
        (
            laid_over(assertion.clone(), json!({"client_key": "secret"})),
            json!({"client_key": "expected a private key in PEM, without a passphrase"}),
        ),
        (
            laid_over(assertion, json!({"client_key": key, "client_key_algorithm": "RS256"})),
            json!({"client_key": "not a key for RS256"}),
        ),
        (json!({"tls_ca": "none"}), json!({"tls_ca": "no certificate in the given PEM text; provide at least one"})),
        (
            json!({"tls_ca": gateway.certificate(), "tls_verify": false}),
            json!({"tls_ca": "has no effect when tls_verify is false"}),
        ),
        (
            json!({"tls_client_certificate": "none"}),
            json!({"@entity": ["all or none of these fields must be set: 'tls_client_certificate', 'tls_client_key'"]}),
        ),
        (json!({"jwks": "{}"}), json!({"jwks": "the key set has no array `keys`"})),
        (json!({"jwks": "{\"keys\":[]}"}), json!({"jwks": "contains no key that can verify signatures"})),
        (json!({"jwks_uri": "https://issuer.example/keys"}), json!({"issuer": MISSING})),
        (json!({"scopes": ["a"]}), json!({"scopes": "unknown field"})),
    ];
    let mut findings = Findings::new();
    for (fields, expected) in rows {
        let minimum = json!({"introspection_url": "https://issuer.example/i", "authorization_value": AUTHORIZATION});
        let plugin = json!({"name": "oauth2-introspection", "config": laid_over(minimum, fields.clone())});
        let reply = gateway.admin(Method::POST, "/plugins", plugin).await;
        let got = (reply.status, reply.content()["fields"].clone());
        findings.compare(&fields.to_string(), &(400, json!({ "config": expected })), &got);
    }
    let stored = gateway.admin_get("/plugins").await.json();
    assert_eq!(stored["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_not_bound_to_a_consumer() {
    let gateway = Gateway::on_sqlite().await;
    let kate = gateway.create("/consumers", json!({"username": "kate"})).await;
    let config = json!({"introspection_url": "https://issuer.example/i", "authorization_value": AUTHORIZATION});
    let plugin = json!({"name": "oauth2-introspection", "config": config, "consumer": {"id": kate["id"]}});
    let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400).json();
    assert_eq!(reply["fields"], json!({"consumer": "value must be null"}));
}
