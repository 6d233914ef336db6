//! A machine without free local ports: a network namespace with eight of them.

use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::alone;
use crate::program::{Ended, result};

/// The port range applies only to the new namespace. The upstream listens outside of the range.
const SCRIPT: &str = r#"set -eu
ip link set lo up
echo '40000 40007' > /proc/sys/net/ipv4/ip_local_port_range
"$1" upstream --listen 127.0.0.1:9000 >upstream.txt &
trap 'kill $!' EXIT
until grep -q 127.0.0.1:9000 upstream.txt; do kill -0 $!; done
"$1" run warm --proxy http://127.0.0.1:9000 --token t --no-tui --json r.json --html r.html \
    --connections 32 --warm-up 0s --duration 2s
"#;

#[test]
fn running_out_of_local_ports_is_reported() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    // `ip` may only be on root's PATH.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    command.args(["--net", "sh", "-c", SCRIPT, "sh", env!("CARGO_BIN_EXE_tollgate-load")]);
    command.current_dir(folder.path()).env("PATH", path).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("unshare, from util-linux: {error}"));
    let ended = Ended::from(output);
    assert!(
        folder.path().join("r.json").exists(),
        "this test needs network namespaces (root, or unprivileged user namespaces), `ip` from iproute2, and a \
         writable /proc/sys: {ended:?}"
    );

    // Requests that got a port get responses, and none of them is wrong.
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let outcome = result(&folder.path().join("r.json"));
    assert!(outcome.total.responses > 0 && outcome.total.errors["no_ports"] > 0, "{outcome:?}");
    assert_eq!(outcome.total.errors.keys().collect::<Vec<_>>(), ["no_ports"]);
    let reason = "this machine has run out of local ports";
    assert!(outcome.generator.limited.is_some_and(|limited| limited.starts_with(reason)), "{ended:?}");
    assert!(ended.stdout.contains(&format!("UNRELIABLE: {reason}")), "{ended:?}");
    assert!(ended.stderr.contains("no_ports: "), "{ended:?}");
}
