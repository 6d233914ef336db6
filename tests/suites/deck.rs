//! What decK asks of an Admin API, call by call: reading everything (dump), and writing by ids of its own (sync). The
//! calls are those of its library, go-database-reconciler; the statuses are those that it accepts.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::tls::Identity;
use tollgate_tests::{Findings, Gateway};
use uuid::Uuid;

/// The lists that a dump reads, and whether it goes on where there are none.
const LISTS: [(&str, bool); 22] = [
    ("services", false),
    ("routes", false),
    ("plugins", false),
    ("consumers", false),
    ("certificates", false),
    ("snis", false),
    ("upstreams", false),
    ("ca_certificates", true),
    ("key-auths", true),
    ("hmac-auths", true),
    ("jwts", true),
    ("basic-auths", true),
    ("oauth2", true),
    ("acls", true),
    ("mtls-auths", true),
    ("consumer_groups", true),
    ("vaults", true),
    ("keys", true),
    ("key-sets", true),
    ("partials", true),
    ("filter-chains", true),
    ("licenses", true),
];

/// The schemas from which it takes defaults; it goes on without the last one.
const SCHEMAS: [(&str, bool); 5] = [
    ("services", false),
    ("routes", false),
    ("upstreams", false),
    ("targets", false),
    ("consumer_group_plugins", true),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_deck_reads_everything_and_goes_on_where_there_is_nothing() {
    let gateway = Gateway::on_sqlite().await;
    let mut findings = Findings::new();
    let node = gateway.admin_get("/").await.expect(200).json();
    findings.compare("version", &json!("3.10.0"), &node["version"]);
    findings.compare("database", &true, &node["configuration"]["database"].is_string());
    for (list, may_be_missing) in LISTS {
        let reply = gateway.admin_get(&format!("/{list}?size=1000&tags=team")).await;
        let ends = || reply.json()["data"] == json!([]) && reply.json().get("offset").is_none();
        let good = if reply.status == 200 { ends() } else { reply.status == 404 && may_be_missing };
        findings.check(list, if good { Ok(()) } else { Err(format!("{} {}", reply.status, reply.body)) });
    }
    for (schema, may_be_missing) in SCHEMAS {
        let reply = gateway.admin_get(&format!("/schemas/{schema}")).await;
        let good = if reply.status == 200 { reply.json()["fields"].is_array() } else { may_be_missing };
        findings.check(schema, if good { Ok(()) } else { Err(format!("{} {}", reply.status, reply.body)) });
    }
}

/// What a sync writes, in its order: path before the id, and the entity.
fn written(id: impl Fn(usize) -> String) -> Vec<(String, Value)> {
    let identity = Identity::issue(&[("CN", "deck.test")], None);
    let [cert, key] =
        [identity.certificate.to_pem().unwrap(), identity.key_pem()].map(|pem| String::from_utf8(pem).unwrap());
    let under = |parent: &str, nth: usize, list: &str| format!("/{parent}/{}/{list}", id(nth));
    let reference = |nth: usize| json!({"id": id(nth)});
    vec![
        ("/certificates".to_owned(), json!({"cert": cert, "key": key})),
        ("/snis".to_owned(), json!({"name": "deck.test", "certificate": reference(0)})),
        ("/services".to_owned(), json!({"name": "orders", "host": "pool.test", "port": 80, "protocol": "http"})),
        ("/routes".to_owned(), json!({"name": "orders", "paths": ["/orders"], "service": reference(2)})),
        ("/upstreams".to_owned(), json!({"name": "pool.test"})),
        (under("upstreams", 4, "targets"), json!({"target": "192.0.2.1:80", "weight": 10})),
        ("/consumers".to_owned(), json!({"username": "shop"})),
        (under("consumers", 6, "key-auth"), json!({"key": "a-key"})),
        (under("consumers", 6, "basic-auth"), json!({"username": "shop", "password": "password"})),
        (under("consumers", 6, "jwt"), json!({"key": "issuer", "secret": "of-the-issuer"})),
        (under("consumers", 6, "acls"), json!({"group": "gold"})),
        (
            under("consumers", 6, "oauth2"),
            json!({"name": "Shop", "client_id": "shop", "client_secret": "clear", "redirect_uris": ["https://shop.test/"]}),
        ),
        (
            "/plugins".to_owned(),
            json!({"name": "oauth2", "service": reference(2), "config": {"enable_client_credentials": true}}),
        ),
        ("/plugins".to_owned(), json!({"name": "rate-limiting", "consumer": reference(6), "config": {"minute": 5}})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_of_deck_creates_repeats_and_deletes_by_ids_of_its_own() {
    let gateway = Gateway::on_sqlite().await;
    let mut findings = Findings::new();
    let ids: Vec<String> = (0..20).map(|_| Uuid::new_v4().to_string()).collect();
    let entities = written(|nth| ids[nth].clone());
    // The second time changes what is there.
    for round in ["create", "update"] {
        for (nth, (path, entity)) in entities.iter().enumerate() {
            let row = format!("{round} {path}");
            let reply = if path.ends_with("/targets") {
                // decK takes targets for immutable: it deletes one and posts the other.
                let target = format!("{path}/{}", ids[nth]);
                let gone = gateway.admin(Method::DELETE, &target, Value::Null).await;
                findings.compare(&format!("{row}: delete"), &if round == "create" { 404 } else { 204 }, &gone.status);
                let mut entity = entity.clone();
                entity["id"] = json!(ids[nth]);
                gateway.admin(Method::POST, path, entity).await
            } else {
                gateway.admin(Method::PUT, &format!("{path}/{}", ids[nth]), entity.clone()).await
            };
            let good = matches!(reply.status, 200 | 201) && reply.json()["id"] == json!(ids[nth]);
            findings.check(&row, if good { Ok(()) } else { Err(format!("{} {}", reply.status, reply.body)) });
        }
    }
    for (nth, (path, _)) in entities.iter().enumerate().rev() {
        let reply = gateway.admin(Method::DELETE, &format!("{path}/{}", ids[nth]), Value::Null).await;
        findings.compare(&format!("delete {path}"), &204, &reply.status);
    }
    for (list, _) in LISTS.iter().take(7) {
        findings.compare(list, &json!([]), &gateway.admin_get(&format!("/{list}")).await.json()["data"]);
    }
}
