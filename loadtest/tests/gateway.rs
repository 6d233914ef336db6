//! Against the real gateway: everything that is made works, is measured, and is removed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;

use tempfile::TempDir;
use tollgate_tests::{Gateway, Store};

use crate::alone;
use crate::program::{Ended, call, command, result};

struct Upstream {
    process: Child,
    url: String,
}

impl Upstream {
    fn start(folder: &Path) -> Self {
        let mut process = command(folder, &["upstream", "--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_end_matches('.').rsplit(' ').next().unwrap();
        Self { url: format!("http://{address}"), process }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct World {
    gateway: Gateway,
    upstream: Upstream,
    folder: TempDir,
}

impl World {
    async fn start() -> Self {
        let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8")]).await;
        let folder = tempfile::tempdir().unwrap();
        Self { upstream: Upstream::start(folder.path()), gateway, folder }
    }

    fn call(&self, arguments: &[&str]) -> Ended {
        call(self.folder.path(), arguments)
    }

    fn provision(&self, tokens: &str, refresh_tokens: &str) -> Ended {
        let (admin, proxy) = (self.gateway.addresses.admin.to_string(), format!("http://{}", self.gateway.http));
        self.call(&[
            "provision",
            "--admin",
            &admin,
            "--proxy",
            &proxy,
            "--upstream",
            &self.upstream.url,
            "--consumers",
            "3",
            "--credentials",
            "5",
            "--tokens",
            tokens,
            "--refresh-tokens",
            refresh_tokens,
            "--parallel",
            "4",
        ])
    }

    fn run(&self, scenario: &str, more: &[&str]) -> (Ended, tollgate_load::outcome::Outcome) {
        let (admin, proxy) = (self.gateway.addresses.admin.to_string(), format!("http://{}", self.gateway.http));
        let metrics = self.gateway.addresses.status.to_string();
        let mut arguments = vec![
            "run",
            scenario,
            "--admin",
            &admin,
            "--metrics",
            &metrics,
            "--warm-up",
            "0s",
            "--duration",
            "2s",
            "--connections",
            "8",
            "--no-tui",
            "--json",
            "r.json",
        ];
        if !more.contains(&"--proxy") {
            arguments.extend(["--proxy", &proxy]);
        }
        arguments.extend(more);
        let ended = self.call(&arguments);
        assert_eq!(ended.code, Some(0), "{scenario}: {ended:?}");
        let outcome = result(&self.folder.path().join("r.json"));
        assert_eq!(outcome.total.failures(), 0, "{scenario}: {outcome:?}");
        (ended, outcome)
    }

    async fn count(&self, path: &str) -> usize {
        self.gateway.admin_get(path).await.expect(200).json()["data"].as_array().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_provisioned_is_measured_checked_and_removed() {
    let _turn = alone();
    let world = World::start().await;
    world.gateway.create("/consumers", serde_json::json!({"username": "somebody-else"})).await;
    // An interrupted provisioning goes on where it was.
    assert_eq!(world.provision("10", "0").code, Some(0));
    let ended = world.provision("60", "20");
    assert!(ended.stdout.contains("5 credentials and 60 tokens"), "{ended:?}");
    assert_eq!((world.count("/oauth2_tokens").await, world.count("/consumers").await), (60, 4));
    let other = world.call(&["provision", "--consumers", "9", "--tokens", "1"]);
    assert!(other.code == Some(2) && other.stderr.contains("is of another provisioning"), "{other:?}");

    let (_, warm) = world.run("warm", &[]);
    assert!(warm.checks.identities_checked > 0, "{:?}", warm.checks);
    assert_eq!(warm.total.statuses.keys().collect::<Vec<_>>(), [&200]);
    let (_, zipf) = world.run("zipf", &["--rate", "200"]);
    assert_eq!(zipf.total.answers, 400);
    assert!(zipf.seconds.iter().any(|second| second.cache_hit_ratio.is_some()), "{zipf:?}");
    world.run("cold-start", &["--rate", "100"]);
    let (_, flood) = world.run("flood", &["--rate", "300"]);
    assert!(flood.phases.iter().any(|phase| phase.name == "random_token" && phase.summary.statuses.contains_key(&401)));
    world.run("issue-storm", &[]);
    world.run("refresh-storm", &[]);
    // Each refresh token is for one use: the second run has those of the first.
    world.run("refresh-storm", &[]);
    let (_, outage) = world.run("outage", &["--rate", "100"]);
    assert_eq!(outage.outage.unwrap().timeline.len(), 1);
    let https = format!("https://{}", world.gateway.https);
    world.run("warm", &["--proxy", &https, "--insecure"]);
    let (_, http2) = world.run("warm", &["--proxy", &https, "--insecure", "--http2", "--streams", "4"]);
    assert!(http2.checks.identities_checked > 0);

    let (ended, revocation) = world.run("revocation", &["--rate", "50"]);
    let revocation = revocation.revocation.unwrap();
    assert!(revocation.revoked >= 10 && revocation.never_refused == 0, "{ended:?} {revocation:?}");
    // In force when it is answered: nothing sent after that is accepted.
    assert!(revocation.accepted_for.max < 1.0, "{revocation:?}");

    // Another gateway has nothing of it, and the file stays.
    let stranger = Gateway::on(Store::Sqlite, &[]).await;
    let astray = world.call(&["cleanup", "--admin", stranger.addresses.admin.as_str()]);
    assert!(astray.code == Some(2) && astray.stderr.contains("is it the right Admin API?"), "{astray:?}");
    let admin = world.gateway.addresses.admin.to_string();
    let cleanup = world.call(&["cleanup", "--admin", &admin]);
    assert_eq!(cleanup.code, Some(0), "{cleanup:?}");
    for (path, left) in
        [("/oauth2_tokens", 0), ("/oauth2", 0), ("/plugins", 0), ("/routes", 0), ("/services", 0), ("/consumers", 1)]
    {
        assert_eq!(world.count(path).await, left, "{path}");
    }
    assert!(!world.folder.path().join("tollgate-load.state").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_rate_that_keeps_a_bound_is_found() {
    let _turn = alone();
    let world = World::start().await;
    assert_eq!(world.provision("5", "0").code, Some(0));
    let scenario = "name: small\nabout: a search that is short\nwarm_up: 0s\nconnections: 16\n\
                    load: {search: {p99: 2s, from: 20, to: 80, trial: 1s}}\nmix: [{send: token}]\n";
    std::fs::write(world.folder.path().join("small.yaml"), scenario).unwrap();
    let (ended, outcome) = world.run("small.yaml", &[]);
    let saturation = outcome.saturation.unwrap();
    assert_eq!(saturation.rate, Some(80.0), "{ended:?}");
    assert_eq!(saturation.trials.len(), 3);
    assert!(ended.stdout.contains("80 requests a second kept p99 under 2.00 s"), "{ended:?}");
}
