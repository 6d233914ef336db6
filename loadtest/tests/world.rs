//! The real gateway with an echo upstream, and the program.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tollgate_load::outcome::Outcome;
use tollgate_tests::{Gateway, Store};

use crate::program::{Ended, call, command, result};

/// A running `tollgate-load upstream`.
pub struct Upstream {
    process: Child,
    pub url: String,
}

impl Upstream {
    pub fn start(folder: &Path) -> Self {
        let mut process = command(folder, &["upstream", "--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap();
        Self { url: format!("http://{address}"), process }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A gateway, its upstream, and the program's working folder.
pub struct World {
    pub gateway: Gateway,
    upstream: Upstream,
    pub folder: TempDir,
}

impl World {
    pub async fn start() -> Self {
        Self::on(Store::Sqlite, &[]).await
    }

    /// Starts with settings for the gateway.
    pub async fn on(store: Store, settings: &[(&str, &str)]) -> Self {
        let settings = [&[("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8")], settings].concat();
        let gateway = Gateway::on(store, &settings).await;
        let folder = tempfile::tempdir().unwrap();
        Self { upstream: Upstream::start(folder.path()), gateway, folder }
    }

    pub fn call(&self, arguments: &[&str]) -> Ended {
        call(self.folder.path(), arguments)
    }

    pub fn provision(&self, tokens: &str, refresh_tokens: &str) -> Ended {
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

    /// Provisions tokens of a third party, whose authority listens on any port.
    pub fn provision_third_party(&self, kind: &str, tokens: &str) -> Ended {
        let (admin, proxy) = (self.gateway.addresses.admin.to_string(), format!("http://{}", self.gateway.http));
        let gateway = ["provision", "--admin", &admin, "--proxy", &proxy, "--upstream", &self.upstream.url];
        let amount = ["--consumers", "3", "--tokens", tokens, "--third-party", kind, "--authority", "127.0.0.1:0"];
        self.call(&[gateway.as_slice(), &amount].concat())
    }

    /// Runs a scenario, for two seconds by default. It must succeed, with a response to every request.
    pub fn run(&self, scenario: &str, more: &[&str]) -> (Ended, Outcome) {
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
            "--connections",
            "8",
            "--no-tui",
            "--json",
            "r.json",
        ];
        if !more.contains(&"--duration") {
            arguments.extend(["--duration", "2s"]);
        }
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

    pub async fn count(&self, path: &str) -> usize {
        self.gateway.admin_get(path).await.expect(200).json()["data"].as_array().unwrap().len()
    }
}

/// The running program. Its lines can be awaited; it is killed on drop.
pub struct Running {
    process: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut process = command(folder, arguments).spawn().unwrap();
        let output = BufReader::new(process.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, lines }
    }

    /// Waits for a line on standard error.
    pub fn until(&self, what: &str, is_it: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| is_it(line)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            said.push(line.unwrap_or_else(|_| panic!("no line for {what}:\n{}", said.join("\n"))));
        }
    }

    /// Waits for it to exit; returns exit code and output.
    pub fn end(mut self) -> Ended {
        let mut stdout = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.process.wait().unwrap().code();
        Ended { code, stdout, stderr: self.lines.iter().collect::<Vec<_>>().join("\n") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
