//! A server of the Model Context Protocol behind a route: the official SDK's client reaches it from a bare 401.

use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tollgate_tests::process::Process;
use tollgate_tests::scenario::REDIRECT_URI;

use super::foreign_clients::{Dialogue, node};
use super::*;

/// The server, on a free port; it stops on drop.
struct McpServer {
    port: u16,
    _process: Process,
}

impl McpServer {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = node("mcp_server.mjs");
        command.arg(port.to_string()).stdin(Stdio::null());
        let mut process = Process::start(&mut command).expect("node");
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(process.ended().unwrap().is_none() && Instant::now() < deadline, "the MCP server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, _process: process }
    }
}

/// The route `/mcp` as docs/mcp.md has it, and its login page's side.
async fn behind_the_gateway(gateway: &Gateway, server: &McpServer, more: Value) -> Api {
    let url = format!("http://127.0.0.1:{}/mcp", server.port);
    let service = gateway.create("/services", json!({"name": "mcp", "url": url})).await;
    let route = gateway.create("/services/mcp/routes", json!({"name": "mcp", "paths": ["/mcp"]})).await;
    let config = json!({
        "scopes": ["tools"], "enable_authorization_code": true, "profile": "bcp",
        "endpoints": ["metadata"], "resources": [gateway.url("/mcp")], "audience_required": true,
        "authorization_endpoint": "https://login.example/page",
    });
    let plugin = json!({"name": "oauth2", "config": tollgate_tests::scenario::laid_over(config, more)});
    let plugin = gateway.create("/services/mcp/plugins", plugin).await;
    Api { name: "mcp".to_owned(), service, route, plugin }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mcp_sdk_reaches_a_server_from_a_bare_401_as_a_known_client() {
    let gateway = Gateway::on_sqlite().await;
    let server = McpServer::start();
    let api = behind_the_gateway(&gateway, &server, json!({})).await;
    let client = Application::register(&gateway, "assistant", json!({"client_type": "public"})).await;
    let mut dialogue = Dialogue::start(node("mcp_client.mjs"), &gateway);
    let known = json!({"client_id": client.id()});
    dialogue.give(&json!({"server": gateway.url("/mcp"), "redirect_uri": REDIRECT_URI, "client": known}));
    let outcome = dialogue.outcome(&gateway, &api).await;
    let who = json!({"user": "kate", "scope": "tools", "client": client.id(), "authorization": null});
    for (name, expected) in [
        ("before", who.clone()),
        ("after", who),
        ("refreshed", json!(true)),
        ("browsed", json!(1)),
        ("registered", json!(client.id())),
    ] {
        assert_eq!(outcome[name], expected, "{name}: {outcome}");
    }
    let asked = &outcome["asked"];
    assert_eq!(
        (&asked["resource"], &asked["scope"], &asked["code_challenge_method"]),
        (&json!(gateway.url("/mcp")), &json!("tools"), &json!("S256"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mcp_sdk_registers_at_a_server_that_it_has_never_seen() {
    let gateway = Gateway::on_sqlite().await;
    let server = McpServer::start();
    gateway.create("/consumers", json!({"username": "assistants"})).await;
    let registration = json!({
        "endpoints": ["metadata", "register"], "registration": "open", "registration_consumer": "assistants",
    });
    let api = behind_the_gateway(&gateway, &server, registration).await;
    let mut dialogue = Dialogue::start(node("mcp_client.mjs"), &gateway);
    dialogue.give(&json!({"server": gateway.url("/mcp"), "redirect_uri": "https://assistant.test/cb", "client": null}));
    let outcome = dialogue.outcome(&gateway, &api).await;
    let registered = outcome["registered"].as_str().unwrap();
    let who = json!({"user": "kate", "scope": "tools", "client": registered, "authorization": null});
    assert_eq!((&outcome["before"], &outcome["after"], &outcome["refreshed"]), (&who, &who, &json!(true)), "{outcome}");
    let credential = gateway.admin_get(&format!("/oauth2/{registered}")).await.expect(200).json();
    assert_eq!(
        (&credential["name"], &credential["client_type"]),
        (&json!("MCP client of the tests"), &json!("public"))
    );
}
