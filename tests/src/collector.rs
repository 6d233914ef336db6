//! A collector of traces, which decodes them with OpenTelemetry's own messages.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::repository;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running one; it stops on drop.
pub struct Collector {
    port: u64,
    file: PathBuf,
    _process: Process,
    _folder: TempDir,
}

impl Collector {
    /// Starts one, whose first calls get these statuses instead of 200.
    pub fn start(statuses: &[u16]) -> Self {
        let python = std::env::var("TOLLGATE_TEST_OTLP_PYTHON").expect(
            "TOLLGATE_TEST_OTLP_PYTHON is not set: run the tests with ./dev test, which installs opentelemetry-proto",
        );
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("spans");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new(python);
        command.arg(repository().join("tests/servers/otlp/collector.py")).arg(&file);
        command.args(statuses.iter().map(u16::to_string)).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let process = Process::start(&mut command).expect("a Python that starts");
        let deadline = Instant::now() + PATIENCE;
        let port = loop {
            let first = fs::read_to_string(&file).ok().and_then(|text| {
                serde_json::from_str::<Value>(text.lines().next().filter(|_| text.ends_with('\n'))?).ok()
            });
            if let Some(port) = first.and_then(|line| line["port"].as_u64()) {
                break port;
            }
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the collector does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { port, file, _process: process, _folder: folder }
    }

    /// Where it takes traces.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.port)
    }

    /// All that it was sent, as text.
    pub fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// The calls, each with its spans.
    pub fn calls(&self) -> Vec<Value> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().skip(1).map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The spans of a trace, in the order in which they began, once there are so many.
    pub async fn spans(&self, trace: &str, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let calls = self.calls();
            let all = calls.iter().flat_map(|call| call["spans"].as_array().cloned().unwrap_or_default());
            let mut spans: Vec<Value> = all.filter(|span| span["trace"] == trace).collect();
            if spans.len() >= count {
                spans.sort_by_key(|span| span["began"].as_u64());
                return spans;
            }
            assert!(Instant::now() < deadline, "{} of {count} spans of {trace}: {spans:#?}", spans.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
