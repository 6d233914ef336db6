//! The pictures in the documentation: `./dev screenshots` makes them anew with this test, which otherwise looks at those
//! that are there.

use std::fs;
use std::path::PathBuf;

use http::Method;
use serde_json::json;
use tollgate_tests::console::ENTER;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Console, Upstream, repository};

const LARGEST: usize = 100 * 1024;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_pictures_of_the_documentation_can_be_made_and_are_small() {
    let console = Console::start(&[]).await;
    let gateway = &console.gateway;
    let upstream = Upstream::start().await;
    let api = Api::protected(gateway, "orders", &upstream, json!({})).await;
    let client = Application::register(gateway, "shop", json!({"client_id": "shop-app"})).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client.id()),
        ("client_secret", client.secret()),
        ("scope", "email"),
    ];
    let token = api.token(gateway, &form).await.expect(200).json()["access_token"].as_str().unwrap().to_owned();
    for _ in 0..40 {
        api.get(gateway, &token).await.expect(200);
    }
    gateway.send(gateway.request(Method::GET, "/nowhere")).await.expect(404);

    let to = std::env::var_os("TOLLGATE_TEST_SCREENSHOTS").map(PathBuf::from);
    let take = async |name: &str| {
        let picture = console.picture().await;
        assert!(picture.starts_with(PNG) && picture.len() <= LARGEST, "{name}: {} bytes", picture.len());
        let documented = repository().join("docs/console").join(name);
        if let Some(folder) = &to {
            fs::write(folder.join(name), &picture).unwrap();
        }
        let kept = fs::read(&documented)
            .unwrap_or_else(|error| panic!("{}: {error}; run ./dev screenshots", documented.display()));
        assert!(kept.starts_with(PNG) && kept.len() <= LARGEST, "{name}: {} bytes", kept.len());
    };
    console.resize(1024, 800).await;
    console.prefer("light").await;
    console.visit("/", "Live traffic").await;
    take("traffic.png").await;
    console.visit("/routes/orders", "Route orders").await;
    take("route.png").await;
    console.prefer("dark").await;
    console.visit("/tokens", "Tokens").await;
    console.fill("Route", "orders").await;
    console.fill("Token", &format!("{token}{ENTER}")).await;
    console.told("The token is accepted.").await;
    take("token-dark.png").await;
}
