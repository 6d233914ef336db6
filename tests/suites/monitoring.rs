//! The dashboard and the alerts of docs/monitoring, on a Prometheus that scrapes a real gateway: every query answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::gateway::free_ports;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, Process, Upstream, repository};

/// Rates need two scrapes, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian's Prometheus, scraping one gateway every second.
struct Prometheus {
    address: String,
    client: reqwest::Client,
    process: Process,
    folder: TempDir,
}

impl Prometheus {
    async fn scraping(gateway: &Gateway) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let status = &gateway.addresses.status;
        let target = format!("{}:{}", status.host_str().unwrap(), status.port().unwrap());
        let rules = repository().join("docs/monitoring/alerts.yaml");
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "tollgate", "static_configs": [{"targets": [target]}]}],
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration.to_string()).unwrap();
        let [address] = free_ports().map(|address| address.to_string());
        let output = fs::File::create(folder.path().join("output")).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let process = Process::start(&mut command).expect("prometheus: install Debian's package, as ./dev test does");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut prometheus = Self { address, client, process, folder };
        let deadline = Instant::now() + PATIENCE;
        while prometheus.get("/-/ready").await.is_none() {
            let ended = prometheus.process.ended().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}\n{}", prometheus.output());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        prometheus
    }

    fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Option<String> {
        let response = self.client.get(format!("http://{}{path}", self.address)).send().await.ok()?;
        if response.status().is_success() { response.text().await.ok() } else { None }
    }

    /// The values of a query now.
    async fn query(&self, query: &str) -> Vec<Value> {
        let url = format!("http://{}/api/v1/query", self.address);
        let response = self.client.post(url).form(&[("query", query)]).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(Path::new(path))).unwrap()
}

/// The queries of the dashboard, as Grafana would send them.
fn of_the_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("docs/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    let queries = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    queries.map(|query| query.replace("$__rate_interval", "1m").replace("$job", ".+")).collect()
}

/// The values that the alerts compare with their bounds.
async fn of_the_alerts(prometheus: &Prometheus) -> Vec<String> {
    let rules: Value = serde_json::from_str(&prometheus.get("/api/v1/rules").await.unwrap()).unwrap();
    let rules = rules["data"]["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let values = rules.map(|rule| {
        let query = rule["query"].as_str().unwrap();
        let end = query.rfind(" > ").max(query.rfind(" < ")).unwrap_or_else(|| panic!("{query} compares nothing"));
        query[..end].to_owned()
    });
    values.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_and_the_alerts_answers() {
    let gateway = Gateway::on_postgres().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    gateway.create("/upstreams", json!({"name": "pool.test"})).await;
    gateway.create("/upstreams/pool.test/targets", json!({"target": upstream.authority()})).await;
    let prometheus = Prometheus::scraping(&gateway).await;
    let mut left = of_the_dashboard();
    left.extend(of_the_alerts(&prometheus).await);
    assert!(left.len() > 30, "only {} queries", left.len());
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "no answer to {left:#?}\n{}", prometheus.output());
        let tokens = api.tokens(&gateway, &client).await;
        for _ in 0..3 {
            api.get(&gateway, tokens["access_token"].as_str().unwrap()).await.expect(200);
        }
        api.get(&gateway, "forged").await.expect(401);
        gateway.send(gateway.request(Method::GET, "/nowhere")).await.expect(404);
        let mut unanswered = Vec::new();
        for query in left {
            if prometheus.query(&query).await.is_empty() {
                unanswered.push(query);
            }
        }
        left = unanswered;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[test]
fn every_alert_has_a_section_that_says_what_to_do() {
    let rules: Value = serde_yaml::from_str(&read("docs/monitoring/alerts.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let alerts: BTreeSet<String> = groups
        .flat_map(|group| group["rules"].as_array().unwrap())
        .map(|rule| rule["alert"].as_str().unwrap().to_owned())
        .collect();
    let page = read("docs/alerts.md");
    let sections: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).map(ToOwned::to_owned).collect();
    assert_eq!(alerts, sections);
}
