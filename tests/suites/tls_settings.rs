//! The settings of the TLS listener: versions, ciphers and protocols; session tickets, which nodes share; and the
//! authorities of client certificates, which are read again. The clients are OpenSSL's `s_client` and `sslscan`.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tollgate_tests::tls::Identity;
use tollgate_tests::{Gateway, Process, Store};

use crate::nodes::within;

const PATIENCE: Duration = Duration::from_secs(20);
const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// What `openssl s_client` says of a connection and a request on it.
async fn client(address: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-servername", "a.test", "-ign_eof"]).args(arguments);
    tokio::task::spawn_blocking(move || said(&mut command, REQUEST).concat()).await.unwrap()
}

/// What a program writes to its standard output and to its standard error when it is given this.
fn said(command: &mut Command, given: &str) -> [String; 2] {
    let [output, errors] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
    command.stdin(Stdio::piped()).stdout(output.reopen().unwrap()).stderr(errors.reopen().unwrap());
    let started = Process::start(command);
    let mut process = started.expect("openssl and sslscan, Debian's packages, which ./dev test installs");
    // A client whose handshake has failed reads nothing.
    let _ = process.input().unwrap().write_all(given.as_bytes());
    let ended = process.ends_within(PATIENCE).unwrap();
    let texts = [output, errors].map(|file| String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned());
    assert!(ended.is_some(), "{command:?} does not end: {texts:?}");
    texts
}

/// A client that keeps its session in a file.
struct Resuming {
    folder: tempfile::TempDir,
    version: &'static str,
}

impl Resuming {
    fn new(version: &'static str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), version }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("session")
    }

    /// Begins a session.
    async fn begin(&self, gateway: &Gateway, arguments: &[&str]) {
        let file = self.file();
        let all = [&[self.version, "-sess_out", file.to_str().unwrap()], arguments].concat();
        let said = client(gateway.https, &all).await;
        assert!(said.contains("\nNew, TLSv1.") && said.contains("HTTP/1.1 404"), "{said}");
    }

    /// Whether the session is resumed.
    async fn resumes(&self, gateway: &Gateway, arguments: &[&str]) -> bool {
        let file = self.file();
        if !file.exists() {
            return false;
        }
        let all = [&[self.version, "-sess_in", file.to_str().unwrap()], arguments].concat();
        let said = client(gateway.https, &all).await;
        let resumed = said.contains("\nReused, TLSv1.");
        assert!(resumed || said.contains("\nNew, "), "{said}");
        resumed
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_at_any_node_of_the_same_database_and_at_no_other() {
    let one = Gateway::on_postgres().await;
    let other = one.another_node().await;
    let stranger = Gateway::on_postgres().await;
    for version in VERSIONS {
        let resuming = Resuming::new(version);
        resuming.begin(&one, &[]).await;
        assert!(resuming.resumes(&one, &[]).await, "{version}, the same node");
        assert!(resuming.resumes(&other, &[]).await, "{version}, another node");
        assert!(!resuming.resumes(&stranger, &[]).await, "{version}, another gateway");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_a_restart_and_none_is_resumed_when_tickets_are_off() {
    let mut gateway = Gateway::on_sqlite().await;
    let without = Gateway::on(Store::Sqlite, &[("TOLLGATE_TLS_SESSION_TICKET_ROTATION", "off")]).await;
    let sessions = VERSIONS.map(Resuming::new);
    for session in &sessions {
        session.begin(&gateway, &[]).await;
    }
    gateway.kill();
    gateway.start_again().await;
    for session in &sessions {
        assert!(session.resumes(&gateway, &[]).await, "{}", session.version);
        let off = Resuming::new(session.version);
        off.begin(&without, &[]).await;
        assert!(!off.resumes(&without, &[]).await, "{}, although tickets are off", session.version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_ciphers_and_protocols_are_those_of_the_settings() {
    let settings = [
        ("TOLLGATE_TLS_VERSIONS", "1.2"),
        ("TOLLGATE_TLS_CIPHERS", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TOLLGATE_TLS_ALPN", "http/1.1"),
    ];
    let old = Gateway::on(Store::Sqlite, &settings).await;
    let said = client(old.https, &["-alpn", "h2,http/1.1"]).await;
    assert!(said.contains("\nNew, TLSv1.2, Cipher is ECDHE-ECDSA-AES256-GCM-SHA384\n"), "{said}");
    assert!(said.contains("\nALPN protocol: http/1.1\n"), "{said}");
    for refused in [["-tls1_3", "-no_ign_eof"], ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]] {
        assert!(client(old.https, &refused).await.contains("Cipher is (NONE)"), "{refused:?}");
    }

    let settings = [("TOLLGATE_TLS_VERSIONS", "1.3"), ("TOLLGATE_TLS_CIPHER_SUITES", "TLS_CHACHA20_POLY1305_SHA256")];
    let new = Gateway::on(Store::Sqlite, &settings).await;
    let said = client(new.https, &[]).await;
    assert!(said.contains("\nNew, TLSv1.3, Cipher is TLS_CHACHA20_POLY1305_SHA256\n"), "{said}");
    assert!(client(new.https, &["-tls1_2"]).await.contains("Cipher is (NONE)"));
}

/// What `sslscan` finds at an address.
async fn scan(address: SocketAddr) -> String {
    let mut command = Command::new("sslscan");
    command.args(["--no-colour", "--show-certificate", &address.to_string()]);
    let [found, _] = tokio::task::spawn_blocking(move || said(&mut command, "")).await.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_finds_nothing_weak() {
    let gateway = Gateway::on_sqlite().await;
    let found = scan(gateway.https).await;
    let lines: Vec<String> = found.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let has = |line: &str| lines.iter().any(|found| found == line);
    for version in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        assert!(has(&format!("{version} disabled")), "{version}: {found}");
    }
    for expected in ["TLSv1.2 enabled", "TLSv1.3 enabled", "Server supports TLS Fallback SCSV"] {
        assert!(has(expected), "{expected}: {found}");
    }
    assert!(has("Session renegotiation not supported") || has("Secure session renegotiation supported"), "{found}");
    assert!(has("Compression disabled") || has("OpenSSL version does not support compression"), "{found}");
    for version in ["TLSv1.2", "TLSv1.3"] {
        assert!(has(&format!("{version} not vulnerable to heartbleed")), "{version}: {found}");
    }
    let ciphers: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("Accepted ") || line.starts_with("Preferred ")).collect();
    assert!(ciphers.len() >= 5, "{found}");
    for cipher in ciphers {
        let is_forward_secret_and_authenticated = cipher.contains("TLSv1.3")
            || (cipher.contains("DHE-") && (cipher.contains("-GCM-") || cipher.contains("-POLY1305")));
        assert!(is_forward_secret_and_authenticated, "{cipher}");
    }
}

/// The files of a client's identity.
fn kept(identity: &Identity, folder: &Path, name: &str) -> [String; 4] {
    let [certificate, key] = ["crt", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
    fs::write(&certificate, identity.certificate.to_pem().unwrap()).unwrap();
    fs::write(&key, identity.key_pem()).unwrap();
    ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()].map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_of_clients_are_read_again_and_no_session_outlives_what_they_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authorities.pem");
    let [first, second] = ["first", "second"].map(|name| Identity::issue(&[("CN", name)], None));
    let [one, two] = [&first, &second].map(|authority| Identity::issue(&[("CN", "client")], Some(authority)));
    let (one, two) = (kept(&one, folder.path(), "one"), kept(&two, folder.path(), "two"));
    let (one, two) = (one.each_ref().map(String::as_str), two.each_ref().map(String::as_str));
    fs::write(&file, first.certificate.to_pem().unwrap()).unwrap();
    let path = file.to_str().unwrap();
    let settings = [("TOLLGATE_TLS_CLIENT_CERTIFICATES", "required"), ("TOLLGATE_TLS_CLIENT_CA", path)];
    let gateway = Gateway::on(Store::Sqlite, &settings).await;
    let admits = async |client_files: &[&str]| client(gateway.https, client_files).await.contains("HTTP/1.1 404");
    assert!(admits(&one).await && !admits(&two).await && !admits(&[]).await);
    let sessions = VERSIONS.map(Resuming::new);
    for session in &sessions {
        session.begin(&gateway, &one).await;
        assert!(!session.resumes(&gateway, &one).await, "{}", session.version);
    }

    fs::write(&file, second.certificate.to_pem().unwrap()).unwrap();
    within(PATIENCE, "the new authority", async || admits(&two).await).await;
    assert!(!admits(&one).await);
    for session in &sessions {
        assert!(!session.resumes(&gateway, &one).await, "{}: with a session of before", session.version);
    }
    fs::write(&file, "no authority").unwrap();
    within(PATIENCE, "a line in the log", async || gateway.output().contains("what was read before stays in force"))
        .await;
    assert!(admits(&two).await && !admits(&one).await);
}
