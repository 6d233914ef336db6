//! The audit log, line by line.

use tollgate_tests::Upstream;
use tollgate_tests::scenario::{Api, Application};

use super::*;

/// A line without its time, which is checked to be one.
fn timeless(mut line: Value) -> Value {
    let time = line.as_object_mut().unwrap().remove("time").expect("a time");
    let time = time.as_str().unwrap().to_owned();
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_and_token_event_has_a_line_with_who_from_where_and_what() {
    let mut gateway = Gateway::on(Store::Sqlite, &AUDITED).await;
    gateway.make_admin_token();
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let before = lines(&gateway, "audit.log", 5).await.len();
    assert_eq!(before, 5, "service, route, plugin, consumer, credential");

    let tokens = api.tokens(&gateway, &client).await;
    api.refresh(&gateway, &client, tokens["refresh_token"].as_str().unwrap()).await.expect(200);
    let wrong = [("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", "wrong")];
    api.token(&gateway, &wrong).await.expect(400);
    let list = gateway.admin_get("/oauth2_tokens").await.expect(200).json();
    let token = list["data"][0]["id"].clone();
    gateway.delete(&format!("/oauth2_tokens/{}", token.as_str().unwrap())).await;
    let plugin = api.plugin["id"].clone();
    gateway.change(&format!("/plugins/{}", plugin.as_str().unwrap()), json!({"config": {"scopes": ["email"]}})).await;
    call(&gateway, Method::DELETE, "/services/api", &[], "").await.expect(401);
    gateway.admin(Method::DELETE, "/services/api", Value::Null).await.expect(400);

    let all: Vec<_> = lines(&gateway, "audit.log", before + 9).await.into_iter().map(timeless).collect();
    let service = api.service["id"].clone();
    let credential = client.credential["id"].clone();
    let at_endpoint = |event: &str, outcome: &str, grant: &str, more: Value| {
        let mut line = json!({
            "event": event, "outcome": outcome, "client": "127.0.0.1", "grant": grant, "credential": credential,
            "service": service, "plugin": plugin,
        });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let write = |method: &str, entity: &str, id: &Value, status: u16, more: Value| {
        let outcome = if status < 300 { "done" } else { "refused" };
        let mut line = json!({
            "event": "admin_write", "outcome": outcome, "actor": "token:tests", "client": "127.0.0.1",
            "method": method, "entity": entity, "id": id, "status": status,
        });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    assert_eq!(all[before + 1]["event"], "token_issued");
    let first_id = all[before + 1]["id"].clone();
    assert_ne!(first_id, token);
    let mut unlinked = write("DELETE", "services", &Value::Null, 400, json!({}));
    unlinked.as_object_mut().unwrap().remove("id");
    let expected = [
        at_endpoint("code_issued", "done", "code", json!({})),
        at_endpoint("token_issued", "done", "authorization_code", json!({"id": first_id})),
        at_endpoint("token_refreshed", "done", "refresh_token", json!({"id": token})),
        at_endpoint("client_refused", "refused", "client_credentials", json!({"reason": "client_invalid"})),
        json!({
            "event": "token_revoked", "outcome": "done", "actor": "token:tests", "client": "127.0.0.1", "id": token,
        }),
        write("DELETE", "oauth2_tokens", &token, 204, json!({})),
        write("PATCH", "plugins", &plugin, 200, json!({"fields": ["config.scopes"]})),
        json!({"event": "admin_refused", "outcome": "refused", "client": "127.0.0.1", "reason": "token_missing"}),
        unlinked,
    ];
    assert_eq!(all[before..], expected);
    let made = write("POST", "services", &service, 201, json!({"fields": all[0]["fields"]}));
    assert_eq!(all[0], made);
    assert!(all[0]["fields"].as_array().unwrap().contains(&json!("host")), "{}", all[0]);
    let text = std::fs::read_to_string(gateway.directory().join("audit.log")).unwrap();
    assert_eq!(gateway.secrets.found_in(&text), Vec::<String>::new());
}

/// The lines that follow: those of tokens and codes that ended, and of the Admin requests that ended them.
async fn ends_after(gateway: &Gateway, before: usize, count: usize) -> Vec<Value> {
    let all = lines(gateway, "audit.log", before + count).await;
    assert_eq!(all.len(), before + count, "{:?}", &all[before..]);
    all.into_iter().skip(before).map(timeless).collect()
}

async fn what_ends_with_what_is_deleted_has_a_line_with_its_number(mut gateway: Gateway) {
    gateway.make_admin_token();
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let [first, second, third] = [
        Application::register(&gateway, "first", json!({})).await,
        Application::register(&gateway, "second", json!({})).await,
        Application::register(&gateway, "third", json!({})).await,
    ];
    for client in [&first, &first, &second, &third] {
        api.tokens(&gateway, client).await;
    }
    api.code(&gateway, &third).await;
    let unused = api.code(&gateway, &first).await;
    let mut before = lines(&gateway, "audit.log", 9 + 8 + 2).await.len();
    let id = |entity: &Value| entity["id"].clone();
    let ended = |of: &str, id: &Value, more: Value| {
        let mut line = json!({
            "event": "tokens_ended", "outcome": "done", "actor": "token:tests", "client": "127.0.0.1", of: id,
        });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let deleted = |entity: &str, id: &Value| {
        json!({
            "event": "admin_write", "outcome": "done", "actor": "token:tests", "client": "127.0.0.1",
            "method": "DELETE", "entity": entity, "id": id, "status": 204,
        })
    };

    let (credential, consumer) = (id(&first.credential), second.credential["consumer"]["id"].clone());
    gateway.delete(&format!("/oauth2/{}", credential.as_str().unwrap())).await;
    gateway.delete("/consumers/second").await;
    let expected = [
        ended("credential", &credential, json!({"tokens": 2, "codes": 1})),
        deleted("oauth2_credentials", &credential),
        ended("credential", &id(&second.credential), json!({"tokens": 1})),
        deleted("consumers", &consumer),
    ];
    assert_eq!(ends_after(&gateway, before, 4).await, expected);
    before += 4;
    api.redeem(&gateway, &first, &unused).await.expect(400);
    before = lines(&gateway, "audit.log", before + 1).await.len();

    let (plugin, service) = (id(&api.plugin), id(&api.service));
    gateway.delete(&format!("/plugins/{}", plugin.as_str().unwrap())).await;
    gateway.delete(&format!("/routes/{}", api.route["id"].as_str().unwrap())).await;
    gateway.delete("/services/api").await;
    gateway.delete("/consumers/third").await;
    let expected = [
        ended("plugin", &plugin, json!({"codes": 1})),
        deleted("plugins", &plugin),
        deleted("routes", &id(&api.route)),
        ended("service", &service, json!({"tokens": 1})),
        deleted("services", &service),
        deleted("consumers", &third.credential["consumer"]["id"]),
    ];
    assert_eq!(ends_after(&gateway, before, 6).await, expected);
    assert_eq!(gateway.admin_get("/oauth2_tokens").await.expect(200).json()["data"], json!([]));
}

const AUDITED: [(&str, &str); 2] = [("TOLLGATE_ADMIN_AUTH", "tokens"), ("TOLLGATE_AUDIT_LOG", "audit.log")];

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_with_what_is_deleted_has_a_line_with_its_number_on_sqlite() {
    what_ends_with_what_is_deleted_has_a_line_with_its_number(Gateway::on(Store::Sqlite, &AUDITED).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_with_what_is_deleted_has_a_line_with_its_number_on_postgres() {
    what_ends_with_what_is_deleted_has_a_line_with_its_number(Gateway::on(Store::Postgres, &AUDITED).await).await;
}
