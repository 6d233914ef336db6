//! Start-up, loss of the store, and shutdown of the gateway.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use http::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tollgate_tests::http2::{self, Frames, kind};
use tollgate_tests::postgres::Database;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Forwarder, Gateway, Node, Reply, Store, Upstream, program};
use url::Url;

/// How long an idle gateway may take to exit: far below the drain timeout of the tests.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn every_error_in_a_settings_file_is_reported_with_its_position() {
    let node = Node::on_sqlite();
    let file = "proxy:\n  keepalive_timeout: sixty\n  http_lisen: 0.0.0.0:80\n\
                log: {level: loud}\ntrusted_ips: [ten]\nnonsense: 1\n";
    fs::write(node.directory().join("bad.yaml"), file).unwrap();
    let ended = node.run(&["check", "--config", "bad.yaml"]).await;
    let mut findings = Findings::new();
    findings.compare("exit code", &Some(1), &ended.code);
    findings.compare("one line for each problem", &5, &ended.output.lines().count());
    for (place, setting) in [
        ("2:3", "proxy.keepalive_timeout"),
        ("3:3", "proxy.http_lisen"),
        ("4:7", "log.level"),
        ("5:1", "trusted_ips"),
        ("6:1", "nonsense"),
    ] {
        let start = format!("tollgate: bad.yaml:{place}: {setting}: ");
        let reported = ended.output.lines().any(|line| line.starts_with(&start));
        findings.check(&start, if reported { Ok(()) } else { Err(ended.output.clone()) });
    }
    let run = node.run(&["run", "--config", "bad.yaml"]).await;
    findings.compare("run reports the same errors", &ended, &run);
    fs::write(node.directory().join("good.yaml"), "log: {level: warn}\n").unwrap();
    findings.compare("a valid file", &Some(0), &node.run(&["check", "--config", "good.yaml"]).await.code);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_log_and_metrics_name_the_same_pingora() {
    let said = Command::new(program("tollgate")).arg("--version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let pingora = said.trim_end().split_once(" (Pingora ").and_then(|(_, rest)| rest.strip_suffix(')'));
    let pingora = pingora.unwrap_or_else(|| panic!("{said}"));
    let gateway = Gateway::on_sqlite().await;
    let output = gateway.output();
    let line = output.lines().find(|line| line.contains("tollgate is ready")).unwrap_or_default();
    assert!(line.contains(pingora), "{pingora}: {output}");
    let (version, series) = pingora.split_once(' ').unwrap();
    let patched = series.strip_prefix("with ").and_then(|rest| rest.split_once(" patches, series "));
    let (patches, digest) = patched.unwrap_or(("0", ""));
    let labels = [
        format!("pingora=\"{version}\""),
        format!("pingora_patches=\"{patches}\""),
        format!("pingora_series=\"{digest}\""),
    ];
    let page = gateway.metrics().await;
    let line = page.lines().find(|line| line.starts_with("tollgate_build_info{")).unwrap_or_default();
    assert!(labels.iter().all(|label| line.contains(label)) && line.ends_with(" 1"), "{labels:?}: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_reported_with_its_setting() {
    let node = Node::on_sqlite();
    let names = ["proxy.http_listen", "proxy.https_listen", "admin.listen", "status.listen"];
    let mut findings = Findings::new();
    for (name, (_, address)) in names.into_iter().zip(node.listeners) {
        let _taken = TcpListener::bind(address).unwrap();
        let ended = node.run(&["run"]).await;
        findings.compare(&format!("{name}: exit code"), &Some(1), &ended.code);
        let start = format!("tollgate: {name}: cannot listen on {address}: ");
        let reported = ended.output.lines().last().is_some_and(|line| line.starts_with(&start));
        findings.check(name, if reported { Ok(()) } else { Err(ended.output) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_self_signed_certificate_is_created_once() {
    let node = Node::on_sqlite();
    let read = |name| fs::read(node.directory().join(name)).expect("a file");
    node.start(&["run"]).await.stop().unwrap();
    let first = (read("self-signed.crt"), read("self-signed.key"));
    let mode = fs::metadata(node.directory().join("self-signed.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let running = node.start(&["run"]).await;
    assert!(first == (read("self-signed.crt"), read("self-signed.key")), "the second start created another");
    let certificate = reqwest::Certificate::from_pem(&first.0).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap();
    let [_, (_, https), ..] = node.listeners;
    for host in ["127.0.0.1", "localhost"] {
        let response =
            client.get(format!("https://{host}:{}/", https.port())).send().await.expect("a trusted response");
        assert_eq!(response.status().as_u16(), 404);
    }
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_migrated_only_on_the_operators_command() {
    let database = Database::create();
    let node = Node::on_database(database.url());
    let status = node.run(&["migrate", "status"]).await;
    assert_eq!(status.code, Some(0), "{}", status.output);
    assert!(
        status
            .output
            .starts_with("Applied: none; pending: gateway 1, gateway 2, gateway 3, gateway 4, oauth2 1, oauth2 2, "),
        "{}",
        status.output
    );
    assert!(status.output.contains("`tollgate migrate up` applies them"), "{}", status.output);

    let refused = node.run(&["run"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    assert!(refused.output.contains("run `tollgate migrate up"), "{}", refused.output);
    assert_eq!(node.run(&["migrate", "status"]).await, status, "a refused start changes nothing");

    let applied = node.run(&["migrate", "up"]).await;
    assert!(
        applied.code == Some(0)
            && applied.output.starts_with("Applied gateway 1, gateway 2, gateway 3, gateway 4, oauth2 1, oauth2 2"),
        "{applied:?}"
    );
    let again = node.run(&["migrate", "up"]).await;
    assert_eq!((again.code, again.output.as_str()), (Some(0), "The database is up to date.\n"));
    let status = node.run(&["migrate", "status"]).await;
    assert!(status.output.ends_with("; pending: none.\n"), "{}", status.output);
    assert_eq!(node.start(&["run"]).await.stop().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_migrate_migrates_first() {
    let database = Database::create();
    let node = Node::on_database(database.url());
    assert_eq!(node.start(&["run", "--migrate"]).await.stop().unwrap().code(), Some(0));
    assert_eq!(node.start(&["run"]).await.stop().unwrap().code(), Some(0));
}

/// Load balancers send requests as soon as a node is ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_ready_proxy_accepts_connections() {
    for _ in 0..8 {
        let node = Node::on_sqlite();
        let [(_, http), (_, https), _, (_, status)] = node.listeners;
        let ready = Url::parse(&format!("http://{status}/status/ready")).unwrap();
        let starting = async {
            // Without a pause, to see the change at once.
            while !reqwest::get(ready.clone()).await.is_ok_and(|response| response.status().is_success()) {}
            for (name, address) in [("HTTP", http), ("HTTPS", https)] {
                let connected = TcpStream::connect(address).await;
                assert!(connected.is_ok(), "{name}: {connected:?}");
            }
        };
        let (mut process, ()) = tokio::join!(node.start(&["run"]), starting);
        process.stop().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_exits_at_once() {
    let mut gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_DRAIN_TIMEOUT", "60s")]).await;
    // Leaves idle connections open: HTTP/2 and plain.
    gateway.send(gateway.request(Method::GET, "/")).await.expect(404);
    gateway.send(gateway.client.get(gateway.plain_url("/"))).await.expect(404);
    gateway.ask_to_end();
    assert_eq!(gateway.ended_within(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_gets_goaway_when_the_process_drains() {
    let mut gateway = Gateway::on_sqlite().await;
    let mut frames = Frames::open(gateway.https).await;
    let get = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")];
    frames.headers(1, &get, true).await;
    assert_eq!(http2::outcome(&frames.until_end(1).await), "404 DATA");
    gateway.ask_to_end();
    let mut last = Vec::new();
    while let Some(frame) = frames.next().await {
        last.extend(Some(frame).filter(|frame| frame.kind == kind::GOAWAY));
    }
    // NO_ERROR: requests in progress are completed, and no new ones are accepted (RFC 9113 §6.8).
    assert!(!last.is_empty() && last.iter().all(|frame| frame.payload[4..8] == [0; 4]), "{last:?}");
    assert_eq!(gateway.ended_within(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_progress_are_completed_before_the_exit() {
    let slow = SlowUpstream::start().await;
    let mut gateway = slow.behind_gateway("60s").await;
    let plain = tokio::spawn(gateway.client.get(gateway.plain_url("/slow")).send());
    let second = tokio::spawn(gateway.request(Method::GET, "/slow").send());
    slow.reached.acquire_many(2).await.unwrap().forget();

    gateway.ask_to_end();
    until("new connections are refused", async || {
        TcpStream::connect(gateway.http).await.is_err() && TcpStream::connect(gateway.https).await.is_err()
    })
    .await;
    let ready = gateway.client.get(gateway.addresses.status.join("/status/ready").unwrap()).send().await;
    let ready = Reply::read(ready.expect("a response while it drains")).await;
    assert_eq!((ready.status, ready.json()), (503, json!({"message": "draining"})));
    assert!(!plain.is_finished() && !second.is_finished());

    slow.released.notify_waiters();
    for (name, under_way) in [("HTTP/1.1", plain), ("HTTP/2", second)] {
        let response = under_way.await.unwrap().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(response.status().as_u16(), 200, "{name}");
        // HTTP/2 says it with a GOAWAY.
        let closing = (name == "HTTP/1.1").then_some("close");
        assert_eq!(response.headers().get("connection").map(|value| value.to_str().unwrap()), closing, "{name}");
        let body = response.bytes().await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(body.len(), BODY, "{name}");
    }
    assert_eq!(gateway.ended_within(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_timeout_cuts_off_requests_that_do_not_end() {
    let slow = SlowUpstream::start().await;
    let mut gateway = slow.behind_gateway("1s").await;
    let stuck = tokio::spawn(gateway.client.get(gateway.plain_url("/slow")).send());
    slow.reached.acquire().await.unwrap().forget();
    gateway.ask_to_end();
    assert_eq!(gateway.ended_within(2 * SOON).await.code(), Some(0));
    assert!(stuck.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_the_process_at_once() {
    let slow = SlowUpstream::start().await;
    let mut gateway = slow.behind_gateway("60s").await;
    let stuck = tokio::spawn(gateway.client.get(gateway.plain_url("/slow")).send());
    slow.reached.acquire().await.unwrap().forget();
    gateway.interrupt();
    assert_eq!(gateway.ended_within(SOON).await.code(), Some(130));
    assert!(stuck.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_the_gateway_returns_503_for_what_it_does_not_know() {
    let database = Database::create();
    let direct = Url::parse(&database.url()).unwrap();
    let target = format!("{}:{}", direct.host_str().unwrap(), direct.port().unwrap_or(5432));
    let way = Forwarder::to(target.clone()).await;
    let address = way.address;
    let mut url = direct;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(address.port())).unwrap();
    let gateway = Gateway::on(Store::Postgres, &[("TOLLGATE_DATABASE_URL", url.as_str())]).await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "shop", json!({})).await;
    let tokens = api.tokens(&gateway, &client).await;
    let token = tokens["access_token"].as_str().unwrap();
    let health = async |path: &str| {
        let response = gateway.client.get(gateway.addresses.status.join(path).unwrap()).send().await;
        response.expect("a response").status().as_u16()
    };
    assert_eq!((health("/status").await, health("/status/ready").await), (200, 200));

    way.cut().await;
    let mut findings = Findings::new();
    // Issued by the gateway itself, so only the store knows whether it is still valid.
    let reply = api.get(&gateway, token).await;
    let got = (reply.status, reply.header("retry-after").is_some(), reply.header("www-authenticate"));
    findings.compare("a token that is not cached", &(503, true, None), &got);
    let reply = api
        .token(
            &gateway,
            &[("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", client.secret())],
        )
        .await;
    findings.compare("a grant", &(503, true), &(reply.status, reply.header("retry-after").is_some()));
    let reply = gateway.admin_get("/services").await;
    findings.compare("the Admin API", &(503, true), &(reply.status, reply.header("retry-after").is_some()));
    findings.compare("alive", &200, &health("/status").await);
    findings.compare("ready, to serve what is cached", &200, &health("/status/ready").await);
    findings.compare("no request reached the upstream", &0, &upstream.requests());

    let _way = Forwarder::listening(address, target).await;
    until("the store's return is noticed", async || api.get(&gateway, token).await.status == 200).await;
    until("ready again", async || health("/status/ready").await == 200).await;
    findings.compare("unknown again", &401, &api.get(&gateway, "nobodys-token-0123456789abcdef").await.status);
}

/// Polls until a condition holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The length of a slow response: more than the socket buffers hold.
const BODY: usize = 8 << 20;

/// An upstream that responds when released.
struct SlowUpstream {
    url: String,
    /// One permit for each request.
    reached: Arc<Semaphore>,
    /// Releases waiting requests.
    released: Arc<Notify>,
}

impl SlowUpstream {
    async fn start() -> Self {
        let (reached, released) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (reach, release) = (Arc::clone(&reached), Arc::clone(&released));
        let response = async move || {
            let released = release.notified();
            reach.add_permits(1);
            released.await;
            vec![b'x'; BODY]
        };
        let routes = Router::new().fallback(get(response));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, reached, released }
    }

    /// A gateway with it on `/slow`.
    async fn behind_gateway(&self, drain_timeout: &str) -> Gateway {
        let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_DRAIN_TIMEOUT", drain_timeout)]).await;
        gateway.create("/services", json!({"name": "slow", "url": self.url})).await;
        gateway.create("/services/slow/routes", json!({"paths": ["/slow"]})).await;
        gateway
    }
}
