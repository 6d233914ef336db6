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
    let settings = [("TOLLGATE_ADMIN_AUTH", "tokens"), ("TOLLGATE_AUDIT_LOG", "audit.log")];
    let mut gateway = Gateway::on(Store::Sqlite, &settings).await;
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
        json!({"event": "token_revoked", "outcome": "done", "id": token}),
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
