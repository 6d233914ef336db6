//! The live view, on a terminal that `script` (from util-linux) creates.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::alone;
use crate::program::result;
use crate::stub::Stub;

/// The program on its own terminal.
struct Terminal {
    process: Child,
    keys: ChildStdin,
    /// Everything written to the screen.
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(folder: &std::path::Path, url: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_tollgate-load");
        let run = format!("{program} run warm --proxy {url} --token t --warm-up 0s --duration 120s --json r.json");
        let mut command = Command::new("script");
        // The exit code is the program's; the transcript is discarded.
        command.args(["--quiet", "--return", "--flush", "--command", &format!("stty cols 100 rows 30; {run}")]);
        command.arg("/dev/null").current_dir(folder).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("script, from util-linux: {error}"));
        let (keys, mut output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let screen = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut part) {
                written.lock().unwrap().extend_from_slice(&part[..length]);
            }
        });
        Self { process, keys, screen }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    fn until_it_shows(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.screen().contains(what) {
            assert!(Instant::now() < deadline, "{what} never appeared\n{:?}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the exit code.
    fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it is still running: {:?}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const ALTERNATE_SCREEN: &str = "\x1b[?1049h";
const ORDINARY_SCREEN: &str = "\x1b[?1049l";

#[test]
fn a_run_is_shown_on_the_terminal_and_ends_with_q() {
    let _turn = alone();
    let stub = Stub::start(200, vec![Duration::from_millis(2)]);
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), &stub.url());
    // Single words, since unchanged text between them is not written again.
    for what in [ALTERNATE_SCREEN, "warm", "warming", "p99.99", "ms", "status", "200", "report"] {
        terminal.until_it_shows(what);
    }
    terminal.press(b"q");
    terminal.until_it_shows(ORDINARY_SCREEN);
    assert_eq!(terminal.end(), Some(0), "{:?}", terminal.screen());
    // The result remains on the terminal.
    terminal.until_it_shows("status 200: ");
    assert!(result(&folder.path().join("r.json")).interrupted);
}

#[test]
fn a_second_interrupt_does_not_wait_for_responses() {
    let _turn = alone();
    let stub = Stub::start(200, vec![Duration::from_millis(2)]);
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), &stub.url());
    terminal.until_it_shows("status");
    stub.stall(true);
    terminal.press(b"\x03");
    // A word of "finishing requests in progress", which overwrites other letters.
    terminal.until_it_shows("progress");
    terminal.press(b"\x03");
    assert_eq!(terminal.end(), Some(130), "{:?}", terminal.screen());
    terminal.until_it_shows(ORDINARY_SCREEN);
}
