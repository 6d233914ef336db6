//! What the Admin API stores as it was asked to, and says was perhaps not meant so.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::Gateway;
use tollgate_tests::scenario::Application;

/// Sends a form to the Admin API.
async fn form(gateway: &Gateway, method: Method, path: &str, fields: &[(&str, &str)], status: u16) -> Value {
    let url = gateway.addresses.admin.join(path).unwrap();
    gateway.send(gateway.client.request(method, url).form(fields)).await.expect(status).json()
}

on_both_stores! {
    async fn a_list_that_a_form_sends_as_one_value_is_stored_so_and_named(gateway: Gateway) {
        let fields = [("name", "oauth2"), ("config.enable_client_credentials", "true"), ("config.scopes", "read,write")];
        let made = form(&gateway, Method::POST, "/plugins", &fields, 201).await;
        let expected = json!([
            "config.scopes: a value with a comma is one value: send several as \
             config.scopes[]=ONE&config.scopes[]=TWO, or as JSON"
        ]);
        assert_eq!((&made["config"]["scopes"], &made["warnings"]), (&json!(["read,write"]), &expected));
        let path = format!("/plugins/{}", made["id"].as_str().unwrap());
        // It is no part of the entity.
        assert_eq!(gateway.admin_get(&path).await.expect(200).json().get("warnings"), None);
        let changed = form(&gateway, Method::PATCH, &path, &[("config.scopes", "a,b")], 200).await;
        assert_eq!((&changed["config"]["scopes"], &changed["warnings"]), (&json!(["a,b"]), &expected));
        let right = [("config.scopes[]", "read"), ("config.scopes[]", "write")];
        let changed = form(&gateway, Method::PATCH, &path, &right, 200).await;
        assert_eq!((&changed["config"]["scopes"], changed.get("warnings")), (&json!(["read", "write"]), None));
        let blank = gateway.change(&path, json!({"config": {"scopes": ["read write"]}})).await;
        assert!(blank["warnings"][0].as_str().unwrap().starts_with("config.scopes: a scope with a blank"), "{blank}");
        let groups = [("name", "acl"), ("config.allow", "staff,guests")];
        let acl = form(&gateway, Method::POST, "/plugins", &groups, 201).await;
        assert!(acl["warnings"][0].as_str().unwrap().starts_with("config.allow: "), "{acl}");
        let output = gateway.output();
        let lines = output.lines().filter(|line| line.contains("an entity was written that was perhaps not meant so"));
        assert_eq!(lines.filter(|line| line.contains("plugins") && line.contains("config.")).count(), 4, "{output}");
    }

    async fn a_secret_that_nobody_knows_is_named_and_one_that_was_given_is_not(gateway: Gateway) {
        let hashed = Application::register(&gateway, "bob", json!({"hash_secret": true})).await.credential;
        assert!(hashed["client_secret"].as_str().unwrap().starts_with("$pbkdf2-sha512$"), "{hashed}");
        let expected = "client_secret: it was generated, and only its hash is stored, so nobody knows it: send \
                        client_secret with hash_secret, or neither of them";
        assert_eq!(hashed["warnings"], json!([expected]));
        assert!(gateway.output().contains(expected));
        for fields in [json!({"hash_secret": true, "client_secret": "a-secret-of-its-own"}), json!({})] {
            let known = Application::register(&gateway, "bob", fields).await.credential;
            assert_eq!(known.get("warnings"), None, "{known}");
        }
    }
}
