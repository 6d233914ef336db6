//! What newer versions of decK write, call by call: those of their library, go-database-reconciler.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::tls::Identity;
use tollgate_tests::{Findings, Gateway};
use uuid::Uuid;

/// The lists that are empty again in the end.
const LISTS: [&str; 7] = ["services", "routes", "plugins", "consumers", "certificates", "snis", "upstreams"];

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
    for list in LISTS {
        findings.compare(list, &json!([]), &gateway.admin_get(&format!("/{list}")).await.json()["data"]);
    }
}
