//! End-to-end tests: the real gateway, real stores, real sockets, foreign clients.
//!
//! This is the harness; the suites are in `suites/`. A whole gateway is one local variable
//! ([`Gateway`]) and ends with it, and so are its upstream ([`Upstream`]) and a browser
//! ([`Browser`]). Everything secret that passes through the harness is remembered ([`Secrets`]), and
//! a gateway whose output contains any of it fails its test when it ends.
//!
//! It needs what `./dev test` provides: the gateway built, `TOLLGATE_TEST_POSTGRES` set, `psql`,
//! Chromium with its driver, and a Python with Authlib. What is missing fails loudly.

// All of it is test code, where a panic is how a failure is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

pub mod browser;
pub mod findings;
pub mod forwarder;
pub mod gateway;
pub mod http2;
pub mod keep_alive;
pub mod lost_answer;
pub mod node;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod recorder;
pub mod reply;
pub mod scenario;
pub mod secrets;
pub mod tls;
pub mod upstream;

pub use browser::{Browser, Locator};
pub use findings::Findings;
pub use forwarder::Forwarder;
pub use gateway::{Gateway, Store};
pub use keep_alive::KeepAlive;
pub use lost_answer::LostAnswers;
pub use node::Node;
pub use process::Process;
pub use recorder::Recorder;
pub use reply::Reply;
pub use secrets::Secrets;
pub use upstream::Upstream;

use std::path::PathBuf;

/// What the proxy of this version calls itself in `Server`.
pub const SERVER: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// The repository's root.
pub fn repository() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package is in a folder of the repository").to_owned()
}

/// The program that the workspace builds under that name, beside the running test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    let profile = test.ancestors().nth(2).expect("tests are built into target/PROFILE/deps");
    let program = profile.join(name);
    assert!(program.exists(), "{} is not built; ./dev test builds it", program.display());
    program
}
