//! End-to-end tests: the real gateway, real stores, real sockets, third-party clients.
//!
//! This is the harness; the suites are in `suites/`. A whole gateway ([`Gateway`]) is one local variable and
//! stops on drop, and so do its upstream ([`Upstream`]), a browser ([`Browser`]) and a third party's
//! authorization server ([`AuthorizationServer`]). Every secret that passes through the harness is recorded
//! ([`Secrets`]); if a gateway's output contains one, its test fails.
//!
//! The tests need what `./dev test` provides: built programs, `TOLLGATE_TEST_POSTGRES`, `psql`, Chromium with
//! its driver, a Python with Authlib, Debian's glewlwyd, nginx, HAProxy and PgBouncer, Node with oidc-provider, helm
//! (`TOLLGATE_TEST_KUBERNETES`), systemd-analyze, mandoc and decK. A missing prerequisite fails the test.

// Test code reports failures by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

pub mod authority;
pub mod authorization_server;
pub mod browser;
pub mod cluster;
pub mod collector;
pub mod confinement;
pub mod console;
pub mod corpus;
pub mod findings;
pub mod forwarder;
pub mod gateway;
pub mod grpc;
pub mod http2;
pub mod issuer;
pub mod issuer_key;
pub mod keep_alive;
pub mod lost_response;
pub mod name_server;
pub mod node;
pub mod pgbouncer;
pub mod postgres;
pub mod postgres_server;
pub mod process;
pub mod raw;
pub mod recorder;
pub mod recording_proxy;
pub mod reply;
pub mod rounds;
pub mod scenario;
pub mod secrets;
pub mod signing_key;
pub mod target;
pub mod tls;
pub mod upgrades;
pub mod upstream;
pub mod web_server;

pub use authority::Authority;
pub use authorization_server::AuthorizationServer;
pub use browser::{Browser, Locator};
pub use cluster::{Cluster, Replication};
pub use collector::Collector;
pub use confinement::Confinement;
pub use console::Console;
pub use findings::Findings;
pub use forwarder::Forwarder;
pub use gateway::{Gateway, Store};
pub use issuer::Issuer;
pub use issuer_key::IssuerKey;
pub use keep_alive::KeepAlive;
pub use lost_response::LostResponses;
pub use name_server::{Mood, NameServer};
pub use node::Node;
pub use postgres_server::PostgresServer;
pub use process::Process;
pub use recorder::Recorder;
pub use recording_proxy::RecordingProxy;
pub use reply::Reply;
pub use rounds::Rounds;
pub use secrets::Secrets;
pub use signing_key::SigningKey;
pub use target::Target;
pub use upstream::Upstream;
pub use web_server::WebServer;

use std::path::PathBuf;

/// The proxy's name in `Server`, in this version.
pub const SERVER: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// The repository's root.
pub fn repository() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package is in a folder of the repository").to_owned()
}

/// A program of the workspace, next to the running test or program.
pub fn program(name: &str) -> PathBuf {
    let running = std::env::current_exe().expect("a test is a file");
    let folder = running.parent().expect("a file is in a folder");
    // Tests are built into target/PROFILE/deps, programs into target/PROFILE.
    let profile = if folder.ends_with("deps") { folder.parent().expect("target/PROFILE") } else { folder };
    let program = profile.join(name);
    assert!(program.exists(), "{} is not built; run ./dev test, which builds it", program.display());
    program
}
