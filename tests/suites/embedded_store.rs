//! Faults of the embedded database: a full disk, places that cannot be written, damaged files; and backups.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::confinement::seen_by;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Confinement, Findings, Gateway, Node, Reply, Upstream, repository};

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().expect("a text")
}

async fn issue(gateway: &Gateway, api: &Api, client: &Application) -> Reply {
    let form = [
        ("grant_type", "password"),
        ("provision_key", api.provision_key()),
        ("authenticated_userid", "kate"),
        ("scope", "email"),
        ("client_id", client.id()),
        ("client_secret", client.secret()),
    ];
    api.token(gateway, &form).await
}

/// The status, and whether a 503 says when to try again.
fn outcome(reply: &Reply) -> (u16, bool) {
    (reply.status, reply.header("retry-after").is_some())
}

/// Fills the disk of a folder to the last byte.
fn fill(folder: &Path) -> File {
    let mut ballast = File::create(folder.join("ballast")).unwrap();
    let mut block = vec![0; 64 * 1024];
    while !block.is_empty() {
        if ballast.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
    ballast
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_with_503_and_loses_nothing() {
    let gateway = Gateway::on_small_disk(2048).await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "shop", json!({})).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(issue(&gateway, &api, &client).await.expect(200).json());
    }
    let code = api.code(&gateway, &client).await;
    let disk = seen_by(gateway.process_id(), &gateway.directory().join("small"));
    let ballast = fill(&disk);
    // The space that the write-ahead log has already takes a few more.
    for turn in 0.. {
        let reply = issue(&gateway, &api, &client).await;
        if reply.status != 200 {
            break;
        }
        held.push(reply.json());
        assert!(turn < 1000, "the disk is never full");
    }
    let mut findings = Findings::new();
    findings.compare("a token", &(503, true), &outcome(&issue(&gateway, &api, &client).await));
    findings.compare("a code", &(503, true), &outcome(&api.redeem(&gateway, &client, &code).await));
    let refresh_token = text(&held[0], "refresh_token");
    findings.compare("a refresh", &(503, true), &outcome(&api.refresh(&gateway, &client, refresh_token).await));
    let consumer = gateway.admin(Method::POST, "/consumers", json!({"username": "late"})).await;
    findings.compare("an Admin write", &(503, true), &outcome(&consumer));
    for tokens in &held {
        // Most of them have not been used before: they are looked up.
        findings.compare("a token in use", &200, &api.get(&gateway, text(tokens, "access_token")).await.status);
    }
    findings.compare("an unknown one", &401, &api.get(&gateway, "nobodys-token-0123456789abcdef").await.status);

    drop(ballast);
    fs::remove_file(disk.join("ballast")).unwrap();
    for turn in 0.. {
        if issue(&gateway, &api, &client).await.status == 200 {
            break;
        }
        assert!(turn < 1000, "there is space, and no token is issued");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // What was refused was not carried out.
    findings.compare("the code", &200, &api.redeem(&gateway, &client, &code).await.status);
    for tokens in &held {
        let refresh_token = text(tokens, "refresh_token");
        findings.compare("its refresh", &200, &api.refresh(&gateway, &client, refresh_token).await.status);
        findings.compare("another refresh", &400, &api.refresh(&gateway, &client, refresh_token).await.status);
    }
    let consumer = gateway.admin(Method::POST, "/consumers", json!({"username": "late"})).await;
    findings.compare("the Admin write", &201, &consumer.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_migrated_before_the_first_start_in_a_folder_that_is_made() {
    let node = Node::on_sqlite();
    let folder = ["--set", "data_directory=data/of/the/node"];
    let up = node.tool(&[&["migrate", "up"][..], &folder].concat());
    assert!(up.code == Some(0) && up.output.starts_with("Applied gateway 1, "), "{}", up.output);
    let status = node.tool(&[&["migrate", "status"][..], &folder].concat());
    assert!(status.code == Some(0) && status.output.ends_with("; pending: none.\n"), "{}", status.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_written_is_reported_at_start() {
    let mut findings = Findings::new();
    for (row, whole_folder, file_is_writable) in
        [("the file", false, false), ("the folder", true, true), ("both", true, false)]
    {
        let folder = tempfile::Builder::new().prefix("tollgate-db-").tempdir().unwrap();
        let file = folder.path().join("tollgate.db");
        let mut node = Node::on_database(format!("sqlite:{}", file.display()));
        node.start(&["run"]).await.kill().unwrap();
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", file.display()));
        }
        let place = if whole_folder { folder.path().to_owned() } else { file.clone() };
        node.confined(Confinement::ReadOnly(place, file_is_writable.then(|| file.clone())));
        let ended = node.run(&["run"]).await;
        findings.compare(&format!("{row}: exit code"), &Some(1), &ended.code);
        let start = format!("tollgate: cannot open the database: {} or its folder cannot be written: ", file.display());
        findings.check(row, if ended.output.contains(&start) { Ok(()) } else { Err(ended.output) });
    }
}

/// Files that nobody can write, not even through descriptors that are open, until this is dropped: as when the system
/// finds an error on a disk and allows only reading.
struct Unwritable(Vec<PathBuf>);

impl Unwritable {
    fn make(files: Vec<PathBuf>) -> Self {
        Self::set("+i", &files);
        Self(files)
    }

    fn set(attribute: &str, files: &[PathBuf]) {
        let status = Command::new("chattr").arg(attribute).args(files).status().expect("chattr, of e2fsprogs");
        assert!(status.success(), "chattr {attribute} needs root, and a file system such as ext4");
    }
}

impl Drop for Unwritable {
    fn drop(&mut self) {
        Self::set("-i", &self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_written_any_more_is_read_and_writes_are_503() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "shop", json!({})).await;
    let used = issue(&gateway, &api, &client).await.expect(200).json();
    let unused = issue(&gateway, &api, &client).await.expect(200).json();
    api.get(&gateway, text(&used, "access_token")).await.expect(200);
    let code = api.code(&gateway, &client).await;
    let files = ["tollgate.db", "tollgate.db-wal"].map(|name| gateway.directory().join(name)).to_vec();
    let unwritable = Unwritable::make(files);

    let mut findings = Findings::new();
    for round in 0..3 {
        let consumer = gateway.admin(Method::POST, "/consumers", json!({"username": "late"})).await;
        findings.compare("an Admin write", &(503, true), &outcome(&consumer));
        findings.compare("a token", &(503, true), &outcome(&issue(&gateway, &api, &client).await));
        findings.compare("a code", &(503, true), &outcome(&api.redeem(&gateway, &client, &code).await));
        let refreshed = api.refresh(&gateway, &client, text(&used, "refresh_token")).await;
        findings.compare("a refresh", &(503, true), &outcome(&refreshed));
        for (what, tokens) in [("a cached token", &used), ("a token that is looked up", &unused)] {
            let status = api.get(&gateway, text(tokens, "access_token")).await.status;
            findings.compare(&format!("{what}, round {round}"), &200, &status);
        }
        findings.compare("an unknown one", &401, &api.get(&gateway, "nobodys-token-0123456789abcdef").await.status);
        findings.compare("a list", &200, &gateway.admin_get("/consumers").await.status);
    }
    drop(unwritable);
    // What was refused was not carried out, and nothing has to be restarted.
    findings.compare("the code", &200, &api.redeem(&gateway, &client, &code).await.status);
    let refresh_token = text(&used, "refresh_token");
    findings.compare("its refresh", &200, &api.refresh(&gateway, &client, refresh_token).await.status);
    findings.compare("another refresh", &400, &api.refresh(&gateway, &client, refresh_token).await.status);
    let consumer = gateway.admin(Method::POST, "/consumers", json!({"username": "late"})).await;
    findings.compare("the Admin write", &201, &consumer.status);
}

/// A way to damage a database file.
type Damage = fn(&Path);

fn overwrite(file: &Path, from: u64, length: usize) {
    File::options().write(true).open(file).unwrap().write_all_at(&vec![0xa5; length], from).unwrap();
}

const DAMAGES: [(&str, Damage); 5] = [
    ("another file", |file| fs::write(file, "proxy: {http_listen: 0.0.0.0:80}\n").unwrap()),
    ("a damaged head", |file| overwrite(file, 0, 100)),
    ("a damaged page", |file| {
        let last = fs::metadata(file).unwrap().len() / 4096 - 1;
        overwrite(file, last * 4096, 4096);
    }),
    ("a file cut short", |file| {
        let length = fs::metadata(file).unwrap().len();
        File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
    }),
    ("a file cut within its first page", |file| {
        File::options().write(true).open(file).unwrap().set_len(1000).unwrap();
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_reported_at_start_and_left_as_it_is() {
    let mut findings = Findings::new();
    for (row, damage) in DAMAGES {
        let folder = tempfile::Builder::new().prefix("tollgate-db-").tempdir().unwrap();
        let file = folder.path().join("tollgate.db");
        let node = Node::on_database(format!("sqlite:{}", file.display()));
        // Stopped in order: the write-ahead log is in the file.
        node.start(&["run"]).await.stop().unwrap();
        damage(&file);
        let before = fs::read(&file).unwrap();
        for command in [&["run"][..], &["migrate", "up"]] {
            let ended = node.run(command).await;
            findings.compare(&format!("{row}: exit code of {command:?}"), &Some(1), &ended.code);
            let told = format!("{} is damaged, or no SQLite database (", file.display());
            let advised = ended.output.contains("nothing in it was changed: restore a backup of it, or move it away");
            // Besides what a start says it does.
            let said = ended.output.lines().filter(|line| !line.contains(" INFO ")).count();
            let whole = ended.output.contains(&told) && advised && said == 1;
            findings.check(row, if whole { Ok(()) } else { Err(ended.output) });
        }
        findings.check(row, if before == fs::read(&file).unwrap() { Ok(()) } else { Err("it was changed".to_owned()) });
    }
}

/// The command of the operator's guide.
fn backup_command(file: &Path, copy: &Path) -> String {
    let guide = fs::read_to_string(repository().join("docs/operating.md")).unwrap();
    let line = guide.lines().find(|line| line.contains("VACUUM INTO")).expect("a command in docs/operating.md");
    line.replace("data/tollgate.db", &file.display().to_string()).replace("copy.db", &copy.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_restores_every_token_from_before() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "shop", json!({})).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(issue(&gateway, &api, &client).await.expect(200).json());
    }
    let copy = gateway.directory().join("copy.db");
    let (ended, issued) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async || {
        while !ended.load(Ordering::SeqCst) {
            issue(&gateway, &api, &client).await.expect(200);
            issued.fetch_add(1, Ordering::SeqCst);
        }
    };
    let backup = async {
        let reached = async |count| {
            while issued.load(Ordering::SeqCst) < count {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        reached(10).await;
        let command = backup_command(&gateway.directory().join("tollgate.db"), &copy);
        let run = move || Command::new("sh").args(["-c", &command]).output().unwrap();
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        reached(issued.load(Ordering::SeqCst) + 10).await;
        ended.store(true, Ordering::SeqCst);
        output
    };
    let (output, ..) = tokio::join!(backup, load(), load());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);

    let restored = Gateway::on_url(&format!("sqlite:{}", copy.display()), &[]).await;
    let mut findings = Findings::new();
    for tokens in &held {
        findings.compare("a token", &200, &api.get(&restored, text(tokens, "access_token")).await.status);
        let refresh_token = text(tokens, "refresh_token");
        findings.compare("its refresh", &200, &api.refresh(&restored, &client, refresh_token).await.status);
        findings.compare("another refresh", &400, &api.refresh(&restored, &client, refresh_token).await.status);
    }
}
