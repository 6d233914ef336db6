//! Clients that authenticate in two ways at once (RFC 6749 §2.3).

use tollgate_tests::{Findings, Upstream};

use super::*;

const ENDPOINTS: [&str; 5] = ["token", "introspect", "revoke", "par", "device_authorization"];
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What an endpoint needs beside the client.
fn usual(endpoint: &str) -> Vec<(&'static str, &'static str)> {
    match endpoint {
        "token" => vec![("grant_type", "client_credentials"), ("scope", "email")],
        "par" => vec![("response_type", "code"), ("scope", "email")],
        "device_authorization" => vec![("scope", "email")],
        _ => vec![("token", "unknown")],
    }
}

async fn api(gateway: &Gateway, upstream: &Upstream, name: &str, profile: &str) -> Api {
    let config = json!({
        "profile": profile, "endpoints": ["introspect", "revoke", "par", "device"], "pkce": "none",
        "device_verification_uri": "https://login.test/device", "issuer": gateway.url(&format!("/{name}")),
    });
    Api::protected(gateway, name, upstream, config).await
}

on_both_stores! {
    async fn a_client_authenticates_in_one_way_on_profile_bcp_at_every_endpoint_rfc6749_2_3(gateway: Gateway) {
        let upstream = Upstream::start().await;
        for profile in ["kong", "bcp"] {
            api(&gateway, &upstream, profile, profile).await;
        }
        let one = Application::register(&gateway, "one", json!({"resource_server": true})).await;
        let other = Application::register(&gateway, "other", json!({"resource_server": true})).await;
        let once = json!({"error": "invalid_request", "error_description": "The client must present its credentials once"});
        let foreign = json!({"error": "invalid_request", "error_description": "client_id is of another client"});
        let secret = |client| with_secret(client, &[]);
        let assertion = vec![("client_assertion_type", ASSERTION), ("client_assertion", "a.b.c")];
        let mut findings = Findings::new();
        for (http, version) in clients(&gateway) {
            for endpoint in ENDPOINTS {
                for (name, more, expected) in [
                    ("the other's secret", secret(&other), Some(&once)),
                    ("its own secret", secret(&one), Some(&once)),
                    ("an assertion", assertion.clone(), Some(&once)),
                    ("the other's id", vec![("client_id", other.id())], Some(&foreign)),
                    ("its own id", vec![("client_id", one.id())], None),
                ] {
                    for profile in ["bcp", "kong"] {
                        let form = [usual(endpoint), more.clone()].concat();
                        let address = gateway.url(&format!("/{profile}/oauth2/{endpoint}"));
                        let request = http.post(address).basic_auth(one.id(), Some(one.secret())).form(&form);
                        let reply = Reply::read(request.send().await.unwrap()).await;
                        let row = format!("{profile} {endpoint} {version:?}: Basic and {name}: {}", reply.body);
                        // What is begun for a user is of the client that has authenticated, in every profile.
                        let begins = matches!(endpoint, "par" | "device_authorization");
                        let is_strict = profile == "bcp" || (begins && expected == Some(&foreign));
                        match expected.filter(|_| is_strict) {
                            Some(refusal) => findings.compare(&row, &(400, refusal), &(reply.status, &reply.json())),
                            None => findings.compare(&row, &true, &(reply.status < 300)),
                        }
                    }
                }
            }
        }
    }
}
