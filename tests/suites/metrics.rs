//! The metrics page, as Prometheus reads it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use http::Method;
use serde_json::json;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, Store, Upstream};

/// What Prometheus' own linter has against a page.
fn lint(page: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: install Debian's package prometheus, as ./dev test does");
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The families under the gateway's own names: those of the compatible gateway have the names that dashboards use.
fn own(page: &str) -> String {
    let is_own = |line: &&str| {
        let name = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")).unwrap_or(line);
        name.starts_with("tollgate_")
    };
    page.lines().filter(is_own).map(|line| format!("{line}\n")).collect()
}

on_both_stores! {
    async fn metrics_pass_the_linter_of_prometheus(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let tokens = api.tokens(&gateway, &client).await;
        api.get(&gateway, tokens["access_token"].as_str().unwrap()).await.expect(200);
        api.get(&gateway, "forged").await.expect(401);
        gateway.send(gateway.request(Method::GET, "/nowhere")).await.expect(404);
        let page = own(&gateway.metrics().await);
        for family in ["tollgate_requests_total", "tollgate_token_lookup_seconds_bucket", "tollgate_refused_requests_total"] {
            assert!(page.contains(family), "{family} is missing in\n{page}");
        }
        assert_eq!(lint(&page), "");
    }
}

#[test]
fn the_linter_finds_something_in_a_bad_page() {
    assert!(
        lint("# HELP tollgate_things A counter.\n# TYPE tollgate_things counter\ntollgate_things 1\n")
            .contains("_total")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_of_the_admin_listeners_certificate_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("admin.crt"), folder.path().join("admin.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    let settings = [("TOLLGATE_ADMIN_TLS_CERTIFICATE", &*certificate), ("TOLLGATE_ADMIN_TLS_KEY", &*key)];
    let gateway = Gateway::on(Store::Sqlite, &settings).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let family = "tollgate_certificate_expiry_timestamp_seconds";
    let expires = gateway.metric(family, &["name=\"admin.tls.certificate\""]).await;
    let days = (expires - now) / 86_400.0;
    assert!((2.9..3.1).contains(&days), "{days}");
}
