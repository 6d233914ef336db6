//! Man pages and completions, which come from the command line.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;
use tollgate_tests::{Findings, program};

fn tollgate(arguments: &[&str]) -> Output {
    Command::new(program("tollgate")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The commands below a command, from its help.
fn below(command: &[&str]) -> Vec<String> {
    let help = text(&tollgate(&[command, &["--help"]].concat()));
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

fn pages() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let written = tollgate(&["man-pages", folder.path().to_str().unwrap()]);
    assert!(written.status.success(), "{written:?}");
    folder
}

#[test]
fn each_command_has_a_man_page() {
    let mut expected = BTreeSet::from(["tollgate.1".to_owned()]);
    for command in below(&[]) {
        expected.insert(format!("tollgate-{command}.1"));
        expected.extend(below(&[&command]).iter().map(|step| format!("tollgate-{command}-{step}.1")));
    }
    assert!(expected.contains("tollgate-migrate-up.1") && expected.contains("tollgate-health.1"), "{expected:?}");
    let folder = pages();
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn man_pages_are_well_formed_and_have_no_date() {
    let folder = pages();
    let mut findings = Findings::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let heading =
            format!(".TH {} 1 \"\" \"Tollgate {}\" \"Tollgate\"", name.to_uppercase(), env!("CARGO_PKG_VERSION"));
        findings.compare(&name, &Some(heading.as_str()), &page.lines().find(|line| line.starts_with(".TH")));
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&path).output();
        let lint = lint.expect("mandoc: install Debian's package, as ./dev test does");
        findings.compare(&name, &String::new(), &text(&lint));
    }
}

/// What bash offers after these words; the last one may be empty.
fn offered(words: &[&str]) -> Vec<String> {
    let script = r#"
        source /dev/stdin
        COMP_WORDS=(tollgate "$@"); COMP_CWORD=$#; COMPREPLY=()
        _tollgate tollgate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let folder = tempfile::tempdir().unwrap();
    let completions = folder.path().join("completions");
    fs::write(&completions, tollgate(&["completions", "bash"]).stdout).unwrap();
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .args(words)
        .stdin(fs::File::open(completions).unwrap())
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    text(&output).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_shell_completes_commands_and_options() {
    let mut findings = Findings::new();
    for (words, expected) in [
        (&["mig"][..], &["migrate"][..]),
        (&["migrate", "u"], &["up"]),
        (&["run", "--mi"], &["--migrate"]),
        (&["admin-token", "create", "--role", "w"], &["write"]),
    ] {
        let expected: Vec<String> = expected.iter().map(|word| (*word).to_owned()).collect();
        findings.compare(&words.join(" "), &expected, &offered(words));
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let output = tollgate(&["completions", shell]);
        let complete = output.status.success() && text(&output).contains("admin-token");
        findings.check(shell, if complete { Ok(()) } else { Err(format!("{output:?}")) });
    }
}
