//! Every built-in plugin has an example that the Admin API accepts, and a row in the documentation.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::{Findings, Gateway, repository};

#[tokio::test(flavor = "multi_thread")]
async fn every_plugin_has_an_example_that_works_and_a_row_in_the_documentation() {
    let gateway = Gateway::on_sqlite().await;
    let documentation = std::fs::read_to_string(repository().join("docs/plugins.md")).unwrap();
    let enabled = gateway.admin_get("/plugins/enabled").await.expect(200).json();
    let mut findings = Findings::new();
    for name in enabled["enabled_plugins"].as_array().unwrap().iter().filter_map(Value::as_str) {
        let row = format!("| `{name}` |");
        findings.check(name, if documentation.contains(&row) { Ok(()) } else { Err(format!("no row {row}")) });
        let example = repository().join(format!("conf/plugins/{name}.yaml"));
        let Ok(text) = std::fs::read_to_string(&example) else {
            findings.check(name, Err(format!("{} is missing", example.display())));
            continue;
        };
        let plugin: Value = serde_yaml::from_str(&text).unwrap();
        findings.compare(name, &json!(name), &plugin["name"]);
        let reply = gateway.admin(Method::POST, "/plugins", plugin).await;
        findings.check(name, if reply.status == 201 { Ok(()) } else { Err(reply.body) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configurations_in_the_guide_to_third_party_tokens_are_accepted() {
    let gateway = Gateway::on_sqlite().await;
    let guide = std::fs::read_to_string(repository().join("docs/third-party-tokens.md")).unwrap();
    let blocks: Vec<&str> = guide.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 5, "the guide has {} configurations", blocks.len());
    let mut findings = Findings::new();
    for block in blocks {
        let plugin: Value = serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        let reply = gateway.admin(Method::POST, "/schemas/plugins/validate", plugin).await;
        findings.check(block, if reply.status == 200 { Ok(()) } else { Err(reply.body) });
    }
}

/// The rows of the table of plugins on the page for those who come from Kong: the plugins, and what the page says of them.
fn plugins_of_kong() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(repository().join("docs/coming-from-kong.md")).unwrap();
    let section = page.split_once("\n### Plugins\n").expect("a section").1;
    let section = section.split_once("\n### ").expect("another section").0;
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .flat_map(|cells| {
            let plugins = cells[1].split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
            plugins.into_iter().map(move |plugin| (plugin, cells[2].to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_those_who_come_from_kong_says_which_plugins_exist() {
    let gateway = Gateway::on_sqlite().await;
    let enabled = gateway.admin_get("/plugins/enabled").await.expect(200).json();
    let enabled: Vec<&str> = enabled["enabled_plugins"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let told = plugins_of_kong();
    assert_eq!(told.len(), 45, "as many as Kong bundles: {told:?}");
    let mut findings = Findings::new();
    for (plugin, here) in &told {
        findings.compare(plugin, &enabled.contains(&plugin.as_str()), &(here == "yes"));
    }
}
