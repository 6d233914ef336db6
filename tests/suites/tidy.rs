//! Rules of the repository that the compiler does not check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tollgate_tests::{Findings, program, repository};

mod documents;
mod layers;
mod plugins;
mod scaling;
mod standards;

/// Every file of the repository below `folder` whose name has this ending, as a path from the root.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&repository().join(folder), &mut found);
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.iter().map(|path| path.strip_prefix(repository()).unwrap().to_owned()).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    const OTHERS: [&str; 6] = ["target", ".git", ".pingora", ".quickstart", "node_modules", "__pycache__"];
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !OTHERS.iter().any(|other| name == *other) {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The dependencies of a manifest, without those of its tests.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && line != "[dev-dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            names.insert(name);
        }
    }
    names
}

/// A plugin may depend only on the kit, on JOSE, and on what plugins for tokens of other authorities share. The first plugin predates the kit and also depends on what is below it.
const PLUGIN_MAY_NAME: &[&str] = &["tollgate-plugin", "tollgate-jose", "tollgate-third-party"];
const FIRST_PLUGIN_MAY_NAME: &[&str] = &["tollgate-core", "tollgate-store", "tollgate-plugin", "tollgate-jose"];
const SERVER_MAY_NAME: [&str; 7] = [
    "tollgate-core",
    "tollgate-declarative",
    "tollgate-dns",
    "tollgate-store",
    "tollgate-router",
    "tollgate-admin",
    "tollgate-plugin",
];

#[test]
fn dependencies_point_inward() {
    // Permitted dependencies among the workspace's own crates.
    let mut allowed: Vec<(String, &[&str])> = [
        ("gateway/core", &[] as &[&str]),
        ("gateway/dns", &[]),
        ("gateway/http-client", &["tollgate-dns"]),
        ("gateway/plugin", &["tollgate-core", "tollgate-http-client", "tollgate-store"]),
        ("gateway/store", &["tollgate-core"]),
        ("gateway/declarative", &["tollgate-core"]),
        ("gateway/jose", &["tollgate-plugin"]),
        ("gateway/third-party", &["tollgate-plugin", "tollgate-jose"]),
        ("gateway/router", &["tollgate-core"]),
        ("gateway/admin", &["tollgate-core"]),
        ("gateway/quickstart", &[]),
        ("tests", &["tollgate-quickstart"]),
    ]
    .map(|(folder, allowed)| (folder.to_owned(), allowed))
    .to_vec();
    let plugins: Vec<String> = files("plugins", "Cargo.toml")
        .iter()
        .map(|manifest| manifest.parent().unwrap().to_string_lossy().into_owned())
        .collect();
    // A plugin depends on the kit, and on no other plugin.
    allowed.extend(plugins.iter().map(|folder| {
        let allowed = if folder == "plugins/oauth2" { FIRST_PLUGIN_MAY_NAME } else { PLUGIN_MAY_NAME };
        (folder.clone(), allowed)
    }));
    let names: Vec<String> = plugins.iter().map(|folder| folder.replace("plugins/", "tollgate-")).collect();
    let server: Vec<&str> = SERVER_MAY_NAME.iter().copied().chain(names.iter().map(String::as_str)).collect();
    allowed.push(("gateway/server".to_owned(), &server));
    let mut findings = Findings::new();
    for (folder, allowed) in allowed {
        let manifest = read(&Path::new(&folder).join("Cargo.toml"));
        let wrong: Vec<_> = dependencies(&manifest)
            .into_iter()
            .filter(|name| name.starts_with("tollgate") && !allowed.contains(name))
            .collect();
        findings.compare(&folder, &Vec::<&str>::new(), &wrong);
    }
}

#[test]
fn only_the_permitted_crates_depend_on_pingora_and_drivers() {
    const DRIVERS: [&str; 5] =
        ["rusqlite", "tokio-postgres", "deadpool-postgres", "postgres-openssl", "postgres-types"];
    let mut findings = Findings::new();
    for manifest in files("gateway", "Cargo.toml")
        .into_iter()
        .chain(files("plugins", "Cargo.toml"))
        .chain(files("tests", "Cargo.toml"))
    {
        let folder = manifest.parent().unwrap().to_string_lossy().into_owned();
        let text = read(&manifest);
        let names = dependencies(&text);
        // The parsers of Pingora are fuzzed as the gateway uses them.
        if !["gateway/server", "tests/fuzz/targets"].contains(&folder.as_str()) {
            let wrong: Vec<_> = names.iter().filter(|name| name.starts_with("pingora")).collect();
            findings.compare(&format!("{folder}: pingora"), &Vec::<&&str>::new(), &wrong);
        }
        if folder != "gateway/store" {
            let wrong: Vec<_> = names.iter().filter(|name| DRIVERS.contains(name)).collect();
            findings.compare(&format!("{folder}: drivers"), &Vec::<&&str>::new(), &wrong);
        }
    }
}

#[test]
fn every_settings_file_is_valid() {
    let mut findings = Findings::new();
    // Examples of entities, and files for Kubernetes (`packages/kubernetes.rs`), have no settings.
    let others = ["conf/plugins", "conf/packages/helm", "conf/packages/kubernetes"];
    for file in files("conf", ".yaml").into_iter().filter(|file| !others.iter().any(|other| file.starts_with(other))) {
        let mut command = Command::new(program("tollgate"));
        std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")).for_each(|(name, _)| {
            command.env_remove(name);
        });
        let output = command.args(["check", "--config"]).arg(repository().join(&file)).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        findings.check(&file.display().to_string(), if output.status.success() { Ok(()) } else { Err(errors) });
    }
}

#[test]
fn every_statement_is_used_and_starts_with_a_comment() {
    let sources: String =
        files("gateway", ".rs").iter().chain(&files("plugins", ".rs")).map(|path| read(path)).collect();
    let mut findings = Findings::new();
    for file in files("sql", ".sql") {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let row = file.display().to_string();
        findings.check(&row, if sources.contains(&name) { Ok(()) } else { Err("not used by any source".to_owned()) });
        let commented = read(&file).trim_start().starts_with("--");
        findings.check(&row, if commented { Ok(()) } else { Err("does not start with a comment".to_owned()) });
    }
}

#[test]
fn every_patch_to_pingora_has_its_number_and_says_whether_it_is_offered() {
    let mut patches = files("gateway/pingora", ".patch");
    patches.sort();
    let mut findings = Findings::new();
    for (nth, patch) in patches.iter().enumerate() {
        let (row, text) = (patch.display().to_string(), read(patch));
        let (head, changes) = text.split_once("\ndiff --git ").unwrap_or((text.as_str(), ""));
        let name = patch.file_name().unwrap().to_string_lossy();
        findings.compare(&row, &format!("{:04}", nth + 1).as_str(), &name.split('-').next().unwrap_or_default());
        let says = |start: &str| head.lines().any(|line| line.starts_with(start));
        findings.compare(&row, &(true, true), &(says("Subject: [PATCH] "), says("Upstream: ")));
        // Patches must be independent of Tollgate.
        let ours = changes.lines().find(|line| line.starts_with('+') && line.to_lowercase().contains("tollgate"));
        findings.compare(&row, &None, &ours);
    }
}

#[test]
fn commands_in_the_readme_exist() {
    let readme = read(Path::new("README.md"));
    let script = read(Path::new("dev"));
    let help = Command::new(program("tollgate")).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let mut findings = Findings::new();
    for line in readme.lines().map(|line| line.trim_start_matches(['$', ' '])) {
        let mut words = line.split_whitespace();
        let (program, command) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match program {
            "./dev" => {
                let there =
                    script.contains(&format!("\n    {command}) ")) || script.contains(&format!("| {command}) "));
                findings.check(line, if there { Ok(()) } else { Err("unknown to ./dev".to_owned()) });
            }
            "tollgate" => {
                let there = help.lines().any(|line| line.trim_start().starts_with(command));
                findings.check(line, if there { Ok(()) } else { Err("unknown to tollgate".to_owned()) });
            }
            _ => {}
        }
    }
}

#[test]
fn text_files_end_with_one_line_break_and_lines_have_no_trailing_blanks() {
    let mut findings = Findings::new();
    for ending in [".rs", ".toml", ".md", ".sql", ".yaml", ".css", ".py", "dev", "ci/run", "pingora/lay"] {
        for file in files("", ending) {
            let text = read(&file);
            let row = file.display().to_string();
            let ended = text.ends_with('\n') && !text.ends_with("\n\n");
            findings.check(&row, if ended { Ok(()) } else { Err("does not end with one line break".to_owned()) });
            let blank = text.lines().position(|line| line.ends_with([' ', '\t']));
            findings.check(&row, blank.map_or(Ok(()), |line| Err(format!("line {}", line + 1))));
        }
    }
}
