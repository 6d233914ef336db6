//! The Admin API (gateway.md §1–§4): transport, verbs, lists, error objects.

use base64::Engine;
use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Application, laid_over};
use tollgate_tests::{Findings, Gateway, Reply, Upstream, repository};
use uuid::Uuid;

const NOBODY: &str = "3f4a1c2e-0000-4000-8000-000000000000";

/// Sends a request with an unchanged body.
async fn send(gateway: &Gateway, method: &str, path: &str, content_type: Option<&str>, body: &str) -> Reply {
    let url = gateway.addresses.admin.join(path).unwrap();
    let mut request = gateway.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    gateway.send(if body.is_empty() { request } else { request.body(body.to_owned()) }).await
}

fn message(text: &str) -> Value {
    json!({"message": text})
}

/// An error object.
fn refused(code: u32, name: &str, message: &str, fields: Value) -> Value {
    json!({"code": code, "name": name, "message": message, "fields": fields})
}

/// The document without fields that differ between runs; these must be present.
fn without(mut document: Value, fields: &[&str]) -> Value {
    for field in fields {
        let value = document.as_object_mut().unwrap().remove(*field);
        assert!(value.is_some_and(|value| !value.is_null()), "no {field} in {document}");
    }
    document
}

/// The names of the plugins, in order: each has its folder.
fn built_in_plugins() -> Vec<String> {
    let folders = std::fs::read_dir(repository().join("plugins")).unwrap();
    let mut names: Vec<String> = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

on_both_stores! {
    async fn entities_are_returned_complete_with_their_defaults(gateway: Gateway) {
        let mut findings = Findings::new();
        let stamps = ["id", "created_at", "updated_at"];
        let service = gateway.create("/services", json!({"host": "a.test"})).await;
        let expected = json!({
            "name": null, "retries": 5, "protocol": "http", "host": "a.test", "port": 80, "path": null,
            "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 60000, "tags": null, "enabled": true,
            "client_certificate": null, "tls_verify": null, "tls_verify_depth": null, "ca_certificates": null,
        });
        findings.compare("service", &expected, &without(service.clone(), &stamps));
        let by_url = gateway.create("/services", json!({"url": "https://b.test/x"})).await;
        let expected = laid_over(expected, json!({"protocol": "https", "host": "b.test", "port": 443, "path": "/x"}));
        findings.compare("service by url", &expected, &without(by_url, &stamps));

        let route = gateway.create("/routes", json!({"paths": ["/a"], "service": {"id": service["id"], "x": 1}})).await;
        let expected = json!({
            "name": null, "protocols": ["http", "https"], "methods": null, "hosts": null, "paths": ["/a"],
            "headers": null, "snis": null, "sources": null, "destinations": null, "https_redirect_status_code": 426,
            "strip_path": true, "preserve_host": false, "regex_priority": 0, "path_handling": "v0",
            "request_buffering": true, "response_buffering": true, "tags": null, "service": {"id": service["id"]},
        });
        findings.compare("route", &expected, &without(route.clone(), &stamps));

        let consumer = gateway.create("/consumers", json!({"username": "bob", "tags": ["a", "b", "a"]})).await;
        let expected = json!({"username": "bob", "custom_id": null, "tags": ["a", "b"]});
        findings.compare("consumer", &expected, &without(consumer.clone(), &stamps));

        let plugin = json!({"name": "oauth2", "route": {"id": route["id"]}, "config": {"enable_password_grant": true}});
        let mut plugin = gateway.create("/plugins", plugin).await;
        let key = plugin["config"].as_object_mut().unwrap().remove("provision_key").unwrap();
        let shape = key.as_str().is_some_and(|key| key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        findings.compare("provision_key", &true, &shape);
        // Later profiles may add fields; these are the reference's.
        let config = plugin.as_object_mut().unwrap().remove("config").unwrap();
        for (field, expected) in [
            ("scopes", Value::Null), ("mandatory_scope", json!(false)), ("token_expiration", json!(7200)),
            ("enable_authorization_code", json!(false)), ("enable_implicit_grant", json!(false)),
            ("enable_client_credentials", json!(false)), ("enable_password_grant", json!(true)),
            ("hide_credentials", json!(false)), ("accept_http_if_already_terminated", json!(false)),
            ("anonymous", Value::Null), ("global_credentials", json!(false)), ("auth_header_name", json!("authorization")),
            ("refresh_token_ttl", json!(1_209_600)), ("reuse_refresh_token", json!(false)), ("pkce", json!("lax")),
            ("realm", Value::Null),
        ] {
            findings.compare(&format!("config.{field}"), &Some(&expected), &config.get(field));
        }
        let expected = json!({
            "name": "oauth2", "instance_name": null, "route": {"id": route["id"]}, "service": null, "consumer": null,
            "protocols": ["grpc", "grpcs", "http", "https"], "enabled": true, "tags": null,
        });
        findings.compare("plugin", &expected, &without(plugin, &stamps));

        let credential = gateway.create("/consumers/bob/oauth2", json!({"name": "App"})).await;
        for generated in ["client_id", "client_secret"] {
            findings.compare(generated, &Some(32), &credential[generated].as_str().map(str::len));
        }
        let expected = json!({
            "consumer": {"id": consumer["id"]}, "name": "App", "hash_secret": false, "redirect_uris": null, "tags": null,
            "client_type": "confidential",
        });
        let generated = ["id", "created_at", "client_id", "client_secret"];
        findings.compare("credential", &expected, &without(credential, &generated));
    }

    async fn invalid_bodies_get_the_documented_errors(gateway: Gateway) {
        let consumer = gateway.create("/consumers", json!({"username": "bob"})).await;
        let service = gateway.create("/services", json!({"name": "s", "host": "a.test"})).await;
        let route = gateway.create("/routes", json!({"name": "r", "paths": ["/"], "service": {"name": "s"}})).await;
        gateway.create("/routes/r/plugins", json!({"name": "oauth2", "config": {"enable_password_grant": true}})).await;
        let (service_id, route_id) = (service["id"].as_str().unwrap(), route["id"].as_str().unwrap());
        let schema = |message: &str, fields: Value| {
            (400, refused(2, "schema violation", message, fields))
        };
        let one_criterion = "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'";
        let a_grant = "at least one of these fields must be true: enable_authorization_code, enable_implicit_grant, \
                       enable_client_credentials, enable_password_grant";
        let identity = "at least one of these fields must be non-empty: 'custom_id', 'username'";
        let plugins = built_in_plugins().join(", ");
        let not_enabled = format!("plugin 'wot' not enabled; the plugins that exist here are: {plugins}");
        let rows = [
            ("POST", "/services", json!({}), schema("schema violation (host: required field missing)", json!({"host": "required field missing"}))),
            ("POST", "/services", json!({"host": "a.test", "wot": 1}), schema("schema violation (wot: unknown field)", json!({"wot": "unknown field"}))),
            ("POST", "/services", json!({"host": 1}), schema("schema violation (host: expected a string)", json!({"host": "expected a string"}))),
            ("POST", "/services", json!({"host": ""}), schema("schema violation (host: length must be at least 1)", json!({"host": "length must be at least 1"}))),
            ("POST", "/services", json!({"host": "a.test", "port": 70000}), schema("schema violation (port: value should be between 0 and 65535)", json!({"port": "value should be between 0 and 65535"}))),
            ("POST", "/services", json!({"host": "a.test", "retries": "x"}), schema("schema violation (retries: expected an integer)", json!({"retries": "expected an integer"}))),
            ("POST", "/services", json!({"host": "a.test", "path": "x"}), schema("schema violation (path: should start with: /)", json!({"path": "should start with: /"}))),
            ("POST", "/services", json!({"name": "a b", "port": -1}), schema(
                "3 schema violations (host: required field missing; name: invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~; port: value should be between 0 and 65535)",
                json!({"host": "required field missing", "name": "invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~", "port": "value should be between 0 and 65535"}),
            )),
            ("POST", "/routes", json!({}), schema(&format!("schema violation ({one_criterion})"), json!({"@entity": [one_criterion]}))),
            ("POST", "/routes", json!({"paths": ["/a", "b"]}), schema(
                "schema violation (paths.2: should start with: / (fixed path) or ~/ (regex path))",
                json!({"paths": [null, "should start with: / (fixed path) or ~/ (regex path)"]}),
            )),
            ("POST", "/consumers", json!({}), schema(&format!("schema violation ({identity})"), json!({"@entity": [identity]}))),
            ("POST", "/consumers", json!({"username": " x"}), schema("schema violation (username: must not begin or end with white space)", json!({"username": "must not begin or end with white space"}))),
            ("POST", "/consumers", json!({"custom_id": "x\u{a0}"}), schema("schema violation (custom_id: must not begin or end with white space)", json!({"custom_id": "must not begin or end with white space"}))),
            ("POST", "/consumers", json!({"username": "x\ny"}), schema("schema violation (username: must not contain control characters)", json!({"username": "must not contain control characters"}))),
            ("POST", "/consumers/bob/oauth2", json!({"name": "x", "client_id": "x\t"}), schema("schema violation (client_id: must not contain control characters)", json!({"client_id": "must not contain control characters"}))),
            ("POST", "/consumers/bob/oauth2", json!({"name": "x", "client_id": " x "}), schema("schema violation (client_id: must not begin or end with white space)", json!({"client_id": "must not begin or end with white space"}))),
            ("POST", "/consumers", json!({"username": "x", "id": "1"}), schema("schema violation (id: expected a valid UUID)", json!({"id": "expected a valid UUID"}))),
            ("POST", "/plugins", json!({"name": "wot"}), schema(
                &format!("schema violation (name: {not_enabled})"), json!({"name": not_enabled}),
            )),
            ("POST", "/plugins", json!({"name": "oauth2"}), schema(&format!("schema violation (config: {a_grant})"), json!({"config": a_grant}))),
            ("POST", "/plugins", json!({"name": "oauth2", "config": {"enable_password_grant": true, "pkce": "x"}}), schema(
                "schema violation (config.pkce: expected one of: none, lax, strict)",
                json!({"config": {"pkce": "expected one of: none, lax, strict"}}),
            )),
            ("POST", "/plugins", json!({"name": "oauth2", "config": {"enable_password_grant": true}, "consumer": {"id": consumer["id"]}}), schema(
                "schema violation (consumer: value must be null)", json!({"consumer": "value must be null"}),
            )),
            ("POST", "/consumers/bob/oauth2", json!({}), schema("schema violation (name: required field missing)", json!({"name": "required field missing"}))),
            ("POST", "/consumers/bob/oauth2", json!({"name": "x", "redirect_uris": ["http://a.test", "x"]}), schema(
                "schema violation (redirect_uris.2: cannot parse 'x')", json!({"redirect_uris": [null, "cannot parse 'x'"]}),
            )),
            ("POST", "/consumers/bob/oauth2", json!({"name": "x", "redirect_uris": ["http://a.test/#f"]}), schema(
                "schema violation (redirect_uris.1: fragment not allowed in 'http://a.test/#f')",
                json!({"redirect_uris": ["fragment not allowed in 'http://a.test/#f'"]}),
            )),
            ("POST", "/consumers/bob/oauth2", json!({"name": "x", "client_type": "x"}), schema(
                "schema violation (client_type: expected one of: confidential, public)",
                json!({"client_type": "expected one of: confidential, public"}),
            )),
            ("POST", "/consumers", json!({"username": "x", "tags": ["a,b"]}), schema(
                "schema violation (tags.1: invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences)",
                json!({"tags": ["invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"]}),
            )),
            ("POST", "/consumers", json!({"username": "x", "id": consumer["id"]}), (400, refused(3, "primary key violation",
                &format!("primary key violation on key '{{id={}}}'", consumer["id"]), json!({"id": consumer["id"]})))),
            ("POST", "/consumers", json!({"username": "bob"}), (409, refused(5, "unique constraint violation",
                "UNIQUE violation detected on '{username=\"bob\"}'", json!({"username": "bob"})))),
            ("POST", "/routes", json!({"paths": ["/"], "service": {"id": NOBODY}}), (400, refused(4, "foreign key violation",
                &format!("the foreign key '{{id=\"{NOBODY}\"}}' does not reference an existing 'services' entity."), json!({"service": {"id": NOBODY}})))),
            ("DELETE", "/services/s", Value::Null, (400, refused(4, "foreign key violation",
                "an existing 'routes' entity references this 'services' entity", json!({"@referenced_by": "routes"})))),
            ("POST", "/routes/r/plugins", json!({"name": "oauth2", "config": {"enable_password_grant": true}}), (409, refused(5, "unique constraint violation",
                &format!("UNIQUE violation detected on '{{consumer=null,name=\"oauth2\",route={{id=\"{route_id}\"}},service=null}}'"),
                json!({"consumer": null, "name": "oauth2", "route": {"id": route_id}, "service": null})))),
            ("PATCH", &format!("/services/{NOBODY}"), json!({"port": 1}), (404, refused(6, "not found",
                &format!("could not find the entity with primary key '{{id=\"{NOBODY}\"}}'"), json!({"id": NOBODY})))),
            ("PATCH", "/services/nobody", json!({"port": 1}), (404, refused(6, "not found",
                "could not find the entity with '{name=\"nobody\"}'", json!({"name": "nobody"})))),
            ("PATCH", &format!("/plugins/{NOBODY}"), json!({"enabled": true}), (404, message("Not found"))),
            ("POST", "/services/nobody/routes", json!({"paths": ["/"]}), (404, message("Not found"))),
        ];
        let mut findings = Findings::new();
        for (method, path, body, expected) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = gateway.admin(method.clone(), path, body.clone()).await;
            findings.compare(&format!("{method} {path} {body}"), &expected, &(reply.status, reply.content()));
        }
        let unresolved = gateway.admin(Method::POST, "/routes", json!({"paths": ["/"], "service": {"name": "zz"}})).await;
        let text = "foreign key unresolved (service.name: the foreign key cannot be resolved with '{name=\"zz\"}' for an \
                    existing 'services' entity)";
        let got = (unresolved.status, unresolved.content()["code"].clone(), unresolved.content()["message"].clone());
        findings.compare("unresolved by name", &(400, json!(13), json!(text)), &got);
        findings.compare("nothing was lost", &json!(service_id), &gateway.admin_get("/services/s").await.json()["id"]);
    }

    async fn verbs_behave_as_documented(gateway: Gateway) {
        let mut findings = Findings::new();
        let put = gateway.admin(Method::PUT, "/services/s", json!({"host": "a.test"})).await;
        findings.compare("PUT creates by name", &(200, json!("s")), &(put.status, put.json()["name"].clone()));
        let id = put.json()["id"].clone();
        gateway.change("/services/s", json!({"path": "/x", "retries": 3})).await;
        let again = gateway.admin(Method::PUT, "/services/s", json!({"host": "b.test", "name": "other"})).await.json();
        let got = ["id", "name", "host", "path", "retries"].map(|field| again[field].clone());
        findings.compare("PUT replaces, the URL wins", &[id.clone(), json!("s"), json!("b.test"), Value::Null, json!(5)], &got);
        let merged = gateway.change("/services/s", json!({"port": 81})).await;
        findings.compare("PATCH merges", &(json!("b.test"), json!(81)), &(merged["host"].clone(), merged["port"].clone()));
        let head = send(&gateway, "HEAD", "/services/s", None, "").await;
        findings.compare("HEAD", &(200, String::new()), &(head.status, head.body));

        let route = gateway.admin(Method::PUT, "/services/s/routes/r", json!({"paths": ["/"]})).await;
        findings.compare("PUT nested", &(200, id.clone()), &(route.status, route.json()["service"]["id"].clone()));
        let through = gateway.admin_get("/routes/r/service").await;
        findings.compare("foreign path", &(200, id), &(through.status, through.json()["id"].clone()));
        let status = gateway.admin(Method::DELETE, "/routes/r/service", Value::Null).await.status;
        findings.compare("DELETE of a foreign path", &405, &status);
        gateway.create("/services", json!({"name": "t", "host": "t.test"})).await;
        for (method, path, expected) in [
            (Method::GET, "/services/t/routes/r", 404),
            (Method::PATCH, "/services/t/routes/r", 404),
            (Method::DELETE, "/services/t/routes/r", 404),
            (Method::DELETE, "/services/nobody", 204),
            (Method::DELETE, "/services/s/routes/r", 204),
            (Method::DELETE, "/services/s/routes/r", 404),
            (Method::GET, "/services/s", 200),
            (Method::DELETE, "/services/s", 204),
            (Method::GET, "/services/s", 404),
        ] {
            let body = if method == Method::PATCH { json!({}) } else { Value::Null };
            let reply = gateway.admin(method.clone(), path, body).await;
            findings.compare(&format!("{method} {path}"), &expected, &reply.status);
        }

        gateway.create("/consumers", json!({"username": "bob"})).await;
        let plugin = json!({"name": "oauth2", "config": {"enable_password_grant": true, "scopes": ["a", "b"]}});
        let plugin = gateway.create("/services/t/plugins", plugin).await;
        let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
        let patched = gateway.change(&path, json!({"config": {"scopes": ["c"], "realm": "R"}})).await["config"].clone();
        let got = ["scopes", "realm", "enable_password_grant", "provision_key"].map(|field| patched[field].clone());
        let expected = [json!(["c"]), json!("R"), json!(true), plugin["config"]["provision_key"].clone()];
        findings.compare("PATCH merges config key by key", &expected, &got);
        gateway.delete("/services/t").await;
        findings.compare("its plugin went with it", &404, &gateway.admin_get(&path).await.status);
    }

    async fn generated_values_are_not_validated_as_client_input(gateway: Gateway) {
        let mut findings = Findings::new();
        let client = Application::register(&gateway, "client", json!({})).await;
        let token = json!({"credential": {"id": client.credential["id"]}, "expires_in": 60, "access_token": "short"});
        let token = gateway.create("/oauth2_tokens", token).await;
        findings.compare("no hint", &Value::Null, &token["token_hint"]);
        for path in [format!("/oauth2_tokens/{}", token["id"].as_str().unwrap()), "/oauth2_tokens/short".to_owned()] {
            let reply = gateway.admin(Method::PATCH, &path, json!({"expires_in": 90})).await;
            findings.compare(&path, &(200, json!(90)), &(reply.status, reply.content()["expires_in"].clone()));
        }
        let read = gateway.admin_get("/oauth2_tokens/short").await.expect(200).json();
        let written = gateway.admin(Method::PUT, "/oauth2_tokens/short", read.clone()).await;
        findings.compare("written back", &(200, read), &(written.status, written.content()));
    }

    async fn a_url_overrides_the_fields_that_it_stands_for(gateway: Gateway) {
        let mut findings = Findings::new();
        let target = |service: &Value| ["protocol", "host", "port", "path"].map(|field| service[field].clone());
        let all = json!({"url": "https://a.test:8443/x", "protocol": "grpc", "host": "b.test", "port": 1, "path": "/y"});
        let service = gateway.create("/services", laid_over(all.clone(), json!({"name": "s"}))).await;
        findings.compare("POST", &[json!("https"), json!("a.test"), json!(8443), json!("/x")], &target(&service));
        let change = json!({"url": "http://c.test", "host": "d.test", "port": 2, "path": "/z", "protocol": "https"});
        let service = gateway.change("/services/s", change).await;
        findings.compare("PATCH", &[json!("http"), json!("c.test"), json!(80), json!("/z")], &target(&service));
        let service = gateway.change("/services/s", json!({"url": "http://c.test"})).await;
        findings.compare("without a path", &[json!("http"), json!("c.test"), json!(80), Value::Null], &target(&service));
        let service = gateway.admin(Method::PUT, "/services/s", all).await.expect(200).json();
        findings.compare("PUT", &[json!("https"), json!("a.test"), json!(8443), json!("/x")], &target(&service));
        let url = "url=http://e.test/&host=f.test";
        let service = send(&gateway, "PATCH", "/services/s", Some("application/x-www-form-urlencoded"), url).await;
        findings.compare("a form", &[json!("http"), json!("e.test"), json!(80), json!("/")], &target(&service.json()));
    }

    async fn pages_contain_every_entity_once(gateway: Gateway) {
        let mut ids = Vec::new();
        for index in 0..7 {
            let tags = if index % 2 == 0 { json!(["even", "all"]) } else { json!(["odd", "all"]) };
            let consumer = json!({"username": format!("c{index}"), "custom_id": format!("x{index}"), "tags": tags});
            ids.push(gateway.create("/consumers", consumer).await["id"].as_str().unwrap().to_owned());
        }
        ids.sort();
        let mut findings = Findings::new();
        let (mut path, mut seen, mut pages) = ("/consumers?size=3".to_owned(), Vec::new(), 0);
        while pages < 5 {
            let page = gateway.admin_get(&path).await.expect(200).json();
            seen.extend(page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => {
                    findings.compare("next leads on", &true, &(next.starts_with("/consumers?offset=") && page["offset"].is_string()));
                    path = next.to_owned();
                    if !path.contains("size=") { path.push_str("&size=3"); }
                }
                None => { findings.compare("no offset on the last page", &None, &page.get("offset")); break; }
            }
        }
        findings.compare("every one once, by id", &(ids, 3), &(seen, pages));
        for (filter, count) in [("tags=even", 4), ("tags=odd", 3), ("tags=even,all", 4), ("tags=even,odd", 0), ("tags=even/odd", 7), ("wot=1", 7), ("custom_id=x3", 1)] {
            let page = gateway.admin_get(&format!("/consumers?{filter}")).await.expect(200).json();
            findings.compare(filter, &(count, &Value::Null), &(page["data"].as_array().unwrap().len(), &page["next"]));
        }
        let rows = [
            ("size=x", refused(9, "invalid size", "size must be a number", Value::Null)),
            ("size=0", refused(9, "invalid size", "size must be an integer between 1 and 1000", Value::Null)),
            ("size=1001", refused(9, "invalid size", "size must be an integer between 1 and 1000", Value::Null)),
            ("offset=!", refused(7, "invalid offset", "'!' is not a valid offset: bad base64 encoding", Value::Null)),
            ("offset=eA", refused(7, "invalid offset", "'eA' is not a valid offset: bad json encoding", Value::Null)),
            ("tags=", refused(11, "invalid options", "invalid option (tags: cannot be null)", Value::Null)),
            ("tags=a,b/c", refused(11, "invalid options", "invalid option (tags: invalid filter syntax)", Value::Null)),
            ("tags=a,b,c,d,e,f", refused(11, "invalid options", "invalid option (tags: cannot query more than 5 tags)", Value::Null)),
        ];
        for (query, expected) in rows {
            let reply = gateway.admin_get(&format!("/consumers?{query}")).await;
            let got = reply.content();
            let pick = |document: &Value| ["code", "name"].map(|field| document[field].clone());
            findings.compare(query, &(400, pick(&expected)), &(reply.status, pick(&got)));
            let text = got["message"].as_str().unwrap_or_default();
            // The table lists the last text without its prefix.
            let words = expected["message"].as_str().unwrap().trim_end_matches(')');
            let words = if query.ends_with(",f") { "tags: cannot query more than 5 tags" } else { words };
            findings.check(&format!("{query}: message"), if text.contains(words) { Ok(()) } else { Err(text.to_owned()) });
        }
        for absent in ["%00", "x3%00", "%FF", "%EF%BF%BD"] {
            let reply = gateway.admin_get(&format!("/consumers?custom_id={absent}")).await;
            findings.compare(absent, &(200, json!({"data": [], "next": null})), &(reply.status, reply.content()));
        }
        let nul = base64::engine::general_purpose::STANDARD.encode(json!([NOBODY, "a\0"]).to_string());
        for (path, status) in [(format!("/tags?offset={nul}"), 400), ("/consumers?tags=a%00".to_owned(), 400), ("/consumers/a%00".to_owned(), 404), ("/tags/a%00".to_owned(), 404)] {
            findings.compare(&path, &status, &gateway.admin_get(&path).await.status);
        }
        for index in 0..3 {
            gateway.create("/consumers/c0/oauth2", json!({"name": format!("a{index}")})).await;
        }
        let page = gateway.admin_get("/consumers/c0/oauth2?size=2").await.expect(200).json();
        let next = page["next"].as_str().unwrap_or_default();
        findings.check("next of a nested list", if next.starts_with("/consumers/c0/oauth2?offset=") { Ok(()) } else { Err(next.to_owned()) });
        findings.compare("it leads on", &1, &gateway.admin_get(next).await.expect(200).json()["data"].as_array().unwrap().len());
        let empty = gateway.admin_get("/consumers?custom_id=").await;
        findings.compare("custom_id=", &(400, message("custom_id must be an unempty string")), &(empty.status, empty.content()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transport_errors_are_as_documented() {
    let gateway = Gateway::on_sqlite().await;
    gateway.create("/services", json!({"name": "s", "host": "a.test"})).await;
    const JSON: Option<&str> = Some("application/json");
    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
    let empty = Value::String(String::new());
    let many = (0..1001).map(|index| format!("a{index}=1")).collect::<Vec<_>>().join("&");
    let rows = [
        ("GET", "/nowhere", None, "", 404, message("Not found")),
        ("OPTIONS", "/nowhere", None, "", 404, message("Not found")),
        ("DELETE", "/services", None, "", 405, message("Method not allowed")),
        ("POST", "/services/s", JSON, "{}", 405, message("Method not allowed")),
        ("WOT", "/services", None, "", 405, message("Method not allowed")),
        ("POST", "/services", Some("text/plain"), "x", 415, empty.clone()),
        ("POST", "/services", None, "x", 415, empty),
        ("POST", "/services", JSON, "", 400, message("Cannot parse JSON body")),
        ("POST", "/services", JSON, "{", 400, message("Cannot parse JSON body")),
        ("POST", "/services", FORM, &many, 400, message("Too many arguments")),
    ];
    let mut findings = Findings::new();
    for (method, path, content_type, body, status, expected) in rows {
        let reply = send(&gateway, method, path, content_type, body).await;
        let row = format!("{method} {path} {content_type:?} {body:.20}");
        findings.compare(&row, &(status, expected), &(reply.status, reply.content()));
    }
    for (path, status) in [("/services/", 200), ("/services/s/", 200), ("/services/%73", 200)] {
        findings.compare(path, &status, &send(&gateway, "GET", path, None, "").await.status);
    }
    findings.compare("a body on GET", &200, &send(&gateway, "GET", "/services", JSON, "{").await.status);
    for (path, methods) in
        [("/services", "GET, HEAD, OPTIONS, POST"), ("/services/s", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT")]
    {
        let reply = send(&gateway, "OPTIONS", path, None, "").await;
        let got =
            ["allow", "access-control-allow-methods", "access-control-allow-headers"].map(|name| reply.header(name));
        let expected = [methods, methods, "Content-Type"].map(|value| Some(value.to_owned()));
        findings.compare(&format!("OPTIONS {path}"), &(204, expected), &(reply.status, got));
        findings.compare(&format!("OPTIONS {path}: no type"), &None, &reply.header("content-type"));
    }
    let gone = send(&gateway, "DELETE", "/services/nobody", None, "").await;
    let frame = ["content-type", "content-length", "transfer-encoding"].map(|name| gone.header(name));
    findings.compare("DELETE", &(204, [None, None, None]), &(gone.status, frame));
    for (body, status) in [("username=%FF", 400), ("username=%FE", 400), ("a%FF=b", 400), ("username=%C3%A9", 201)] {
        findings.compare(body, &status, &send(&gateway, "POST", "/consumers", FORM, body).await.status);
    }
    let reply = send(&gateway, "GET", "/services", None, "").await;
    let got = ["content-type", "access-control-allow-origin", "access-control-allow-credentials"]
        .map(|name| reply.header(name));
    let expected = ["application/json; charset=utf-8", "*", "true"].map(|value| Some(value.to_owned()));
    findings.compare("headers", &expected, &got);
}

#[tokio::test(flavor = "multi_thread")]
async fn form_values_are_converted_to_the_types_of_the_fields() {
    let gateway = Gateway::on_sqlite().await;
    let service = gateway.create("/services", json!({"name": "s", "host": "a.test"})).await;
    let id = service["id"].as_str().unwrap();
    let by_id = format!("paths=/&service.id={id}");
    let rows = [
        ("/routes", "hosts=a.com", "hosts", json!(["a.com"])),
        ("/routes", "hosts[]=a&hosts[]=b", "hosts", json!(["a", "b"])),
        ("/routes", "hosts[1]=a&hosts[2]=b", "hosts", json!(["a", "b"])),
        ("/routes", by_id.as_str(), "service", json!({"id": id})),
        ("/routes", "paths=/&headers.location[1]=v", "headers", json!({"location": ["v"]})),
        ("/routes", "paths=/&strip_path=false", "strip_path", json!(false)),
        ("/routes", "paths=/&regex_priority=5", "regex_priority", json!(5)),
        ("/services", "host=a.test&port=8080", "port", json!(8080)),
        ("/consumers", "username=b%C3%A9&custom_id=", "username", json!("bé")),
    ];
    let mut findings = Findings::new();
    for (path, form, field, expected) in rows {
        let reply = send(&gateway, "POST", path, Some("application/x-www-form-urlencoded"), form).await;
        findings.compare(form, &(201, expected), &(reply.status, reply.content()[field].clone()));
    }
    let plugin =
        "name=oauth2&config.scopes[]=a&config[scopes][]=b&config.enable_password_grant=true&config[token_expiration]=9";
    let reply = send(&gateway, "POST", "/services/s/plugins", Some("application/x-www-form-urlencoded"), plugin).await;
    let config = reply.content()["config"].clone();
    findings.compare(
        "plugin",
        &(201, json!(true), json!(9)),
        &(reply.status, config["enable_password_grant"].clone(), config["token_expiration"].clone()),
    );
    let multipart = reqwest::multipart::Form::new().text("username", "m").text("tags[]", "t");
    let url = gateway.addresses.admin.join("/consumers").unwrap();
    let reply = gateway.send(gateway.client.post(url).multipart(multipart)).await;
    let got = (reply.status, reply.content()["username"].clone(), reply.content()["tags"].clone());
    findings.compare("multipart", &(201, json!("m"), json!(["t"])), &got);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_describes_itself() {
    let gateway = Gateway::on_sqlite().await;
    let mut findings = Findings::new();
    let root = gateway.admin_get("/").await.expect(200).json();
    let node = root["node_id"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    findings.check("node_id", node.map(drop).ok_or_else(|| root["node_id"].to_string()));
    findings.compare("oauth2's priority", &json!(1400), &root["plugins"]["available_on_server"]["oauth2"]["priority"]);
    let status = gateway.admin_get("/status").await.expect(200).json();
    findings.compare("database", &json!({"reachable": true}), &status["database"]);
    let enabled = gateway.admin_get("/plugins/enabled").await.expect(200).json();
    findings.compare("enabled", &json!({"enabled_plugins": built_in_plugins()}), &enabled);
    let schema = gateway.admin_get("/schemas/plugins/oauth2").await.expect(200).json();
    findings.check("schema", if schema["fields"].is_array() { Ok(()) } else { Err(schema.to_string()) });
    findings.compare("its rules", &json!([]), &schema["entity_checks"]);
    for (path, text) in [("/schemas/wot", "No entity named 'wot'"), ("/schemas/plugins/wot", "No plugin named 'wot'")] {
        let reply = gateway.admin_get(path).await;
        findings.compare(path, &(404, message(text)), &(reply.status, reply.content()));
    }
    let valid = gateway.admin(Method::POST, "/schemas/services/validate", json!({"host": "a.test"})).await;
    findings.compare("validate", &(200, message("schema validation successful")), &(valid.status, valid.content()));
    let invalid = gateway.admin(Method::POST, "/schemas/services/validate", json!({})).await;
    findings.compare("invalid", &(400, json!(2)), &(invalid.status, invalid.content()["code"].clone()));
    let endpoints = gateway.admin_get("/endpoints").await.expect(200).json();
    let all: Vec<&str> = endpoints["data"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for path in ["/services", "/consumers/{consumers}/oauth2", "/oauth2_tokens/{oauth2_tokens}", "/tags/{tags}"] {
        findings.compare(path, &true, &all.contains(&path));
    }
    gateway.create("/consumers", json!({"username": "bob", "tags": ["t"]})).await;
    let tags = gateway.admin_get("/tags/t").await.expect(200).json();
    findings.compare("tags", &json!("consumers"), &tags["data"][0]["entity_name"]);
    for (path, status) in [("/status", 200), ("/status/ready", 200), ("/metrics", 200)] {
        let url = gateway.addresses.status.join(path).unwrap();
        let reply = Reply::read(gateway.client.get(url).send().await.unwrap()).await;
        findings.compare(&format!("status listener {path}"), &status, &reply.status);
        if path == "/status" {
            findings.compare("what it shows", &json!({"reachable": true}), &reply.json()["database"]);
        }
    }
}

/// A route that does not compile, or cannot be read back, must not be stored: it would block every later
/// change.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_blocks_later_ones() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let mut findings = Findings::new();
    let route = json!({"headers": {"x-version": ["~*("]}}).to_string();
    let text = "Router Expression failed validation: invalid regex: '(' (unclosed group)";
    let expected = refused(2, "schema violation", &format!("schema violation ({text})"), json!({"@entity": [text]}));
    let reply = send(&gateway, "POST", "/routes", Some("application/json"), &route).await;
    findings.compare("header expression", &(400, expected), &(reply.status, reply.content()));

    let id = json!({"id": NOBODY});
    let text =
        format!("the foreign key '{{id=\"{NOBODY}\"}}' does not reference an existing 'ca_certificates' entity.");
    let expected = refused(4, "foreign key violation", &text, json!({"ca_certificates": id}));
    let service = json!({"url": "https://a.test", "ca_certificates": [NOBODY]}).to_string();
    let reply = send(&gateway, "POST", "/services", Some("application/json"), &service).await;
    findings.compare("unknown authority", &(400, expected), &(reply.status, reply.content()));

    let service = json!({"url": upstream.url(), "retries": null, "connect_timeout": null, "read_timeout": null});
    let service = gateway.create("/services", service).await;
    gateway.create("/routes", json!({"paths": ["/nulls"], "service": {"id": service["id"]}})).await;
    let status = gateway.request(Method::GET, "/nulls").send().await.unwrap().status().as_u16();
    findings.compare("null is the default", &200, &status);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_concurrent_writes_is_in_force_with_its_response() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let service = gateway.create("/services", json!({"url": upstream.url()})).await;
    let writer = async |writer: usize| {
        for nth in 0..40 {
            let path = format!("/{writer}-{nth}-");
            let paths = if nth % 2 == 0 { path.clone() } else { format!("~{path}$") };
            let route = json!({"paths": [paths], "service": {"id": service["id"]}});
            let route = gateway.create("/routes", route).await;
            let status = async || gateway.request(Method::GET, &path).send().await.unwrap().status().as_u16();
            assert_eq!(status().await, 200, "{path} was written");
            if nth % 4 == 0 {
                let one = format!("/routes/{}", route["id"].as_str().unwrap());
                assert_eq!(send(&gateway, "DELETE", &one, None, "").await.status, 204);
                assert_eq!(status().await, 404, "{path} was deleted");
            }
        }
    };
    futures::future::join_all((0..8).map(writer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_gets_413() {
    let gateway = Gateway::on_sqlite().await;
    let body = json!({"username": "x".repeat(11_000_000)}).to_string();
    let reply = send(&gateway, "POST", "/consumers", Some("application/json"), &body).await;
    assert_eq!((reply.status, reply.content()), (413, message("Payload too large")));
    let nearly = json!({"username": "x".repeat(9_000_000)}).to_string();
    let reply = send(&gateway, "POST", "/consumers", Some("application/json"), &nearly).await;
    assert_eq!(reply.json()["fields"], json!({"username": "must not be longer than 4096 bytes"}), "it was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_codes_have_a_schema_and_no_path() {
    let gateway = Gateway::on_sqlite().await;
    assert_eq!(send(&gateway, "GET", "/oauth2_authorization_codes", None, "").await.status, 404);
    let path = "/schemas/oauth2_authorization_codes/validate";
    let code = json!({"credential": {"id": NOBODY}, "challenge_method": "plain"}).to_string();
    let reply = send(&gateway, "POST", path, Some("application/json"), &code).await;
    let fields = json!({"challenge_method": "expected one of: S256"});
    assert_eq!((reply.status, &reply.content()["fields"]), (400, &fields));
    let code = json!({"credential": {"id": NOBODY}}).to_string();
    let reply = send(&gateway, "POST", path, Some("application/json"), &code).await;
    assert_eq!((reply.status, reply.content()), (200, message("schema validation successful")));
}

/// Name and description of each field.
fn fields(schema: &Value) -> Vec<(&str, &Value)> {
    let fields = schema["fields"].as_array().into_iter().flatten();
    fields
        .flat_map(|field| field.as_object().into_iter().flatten())
        .map(|(name, field)| (name.as_str(), field))
        .collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_describe_each_field_in_the_format_that_tools_expect() {
    let gateway = Gateway::on_sqlite().await;
    let mut findings = Findings::new();
    let names = ["services", "routes", "consumers", "plugins", "oauth2_credentials", "oauth2_tokens"];
    for name in names.into_iter().chain(["oauth2_authorization_codes", "plugins/oauth2"]) {
        let schema = gateway.admin_get(&format!("/schemas/{name}")).await.expect(200).json();
        findings.compare(name, &vec!["entity_checks", "fields"], &keys(&schema));
        for (field, shown) in fields(&schema) {
            let described = shown["description"].as_str().is_some_and(|text| text.ends_with('.'));
            findings.compare(&format!("{name}: {field}"), &(true, true), &(shown["type"].is_string(), described));
        }
    }
    let plugin = gateway.admin_get("/schemas/plugins/oauth2").await.expect(200).json();
    let without_words = |mut field: Value| {
        field.as_object_mut().unwrap().remove("description");
        field
    };
    let top = fields(&plugin);
    findings.compare(
        "its fields",
        &vec!["consumer", "protocols", "config"],
        &top.iter().map(|(name, _)| *name).collect(),
    );
    let consumer = json!({"type": "foreign", "reference": "consumers", "eq": null});
    findings.compare("consumer", &consumer, &without_words(top[0].1.clone()));
    let config = top[2].1;
    findings.compare("config", &(json!("record"), json!(true)), &(config["type"].clone(), config["required"].clone()));
    let condition = json!([{"conditional": {
        "if_field": "mandatory_scope", "if_match": {"eq": true}, "then_field": "scopes", "then_match": {"required": true},
    }}]);
    findings.compare("its rule", &condition, &config["entity_checks"]);
    for (name, field) in fields(config) {
        let described = field["description"].as_str().is_some_and(|text| text.ends_with('.'));
        findings.compare(&format!("config.{name}"), &true, &described);
        let expected = match name {
            "scopes" => json!({"type": "array", "elements": {"type": "string"}}),
            "pkce" => {
                json!({"type": "string", "default": "lax", "required": false, "one_of": ["none", "lax", "strict"]})
            }
            "realm" => json!({"type": "string", "required": false}),
            "anonymous" => json!({"type": "string"}),
            _ => continue,
        };
        findings.compare(name, &expected, &without_words(field.clone()));
    }
}
