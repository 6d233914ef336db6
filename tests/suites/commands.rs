//! The commands of documents, run as a reader runs them: in one bash, in an empty folder, with the gateway's own program
//! and the ports that the page names. Each page has a network of its own, so that these are free.
//!
//! A block marked `bash` is run; the block marked `text` that follows it is what it prints. In that, `…` is anything
//! within a line, or, alone in a line, any lines.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tollgate_tests::{Findings, Process, program, repository};

/// The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Commands, and what they print.
#[derive(Debug)]
struct Block {
    commands: String,
    printed: String,
}

/// The blocks of a page, in order. Before `end`, if that is given.
fn blocks(page: &str, end: Option<&str>) -> Vec<Block> {
    let text = fs::read_to_string(repository().join(page)).unwrap();
    let text = end.map_or(text.as_str(), |end| text.split_once(end).unwrap_or_else(|| panic!("{page}: no {end}")).0);
    let mut found: Vec<Block> = Vec::new();
    let mut rest = text;
    while let Some((_, fenced)) = rest.split_once("```") {
        let (kind, fenced) = fenced.split_once('\n').unwrap();
        let (content, after) = fenced.split_once("```").unwrap_or_else(|| panic!("{page}: a block does not end"));
        match (kind, found.last_mut()) {
            ("bash", _) => found.push(Block { commands: content.to_owned(), printed: String::new() }),
            ("text", Some(block)) => block.printed.push_str(content),
            _ => {}
        }
        rest = after;
    }
    found
}

/// Lines without blanks at their ends, which documents do not have.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).collect()
}

/// Whether a text is as described.
fn matches(expected: &[&str], printed: &[&str]) -> bool {
    match (expected, printed) {
        ([], []) => true,
        (["…", others @ ..], _) => (0..=printed.len()).any(|skipped| matches(others, &printed[skipped..])),
        ([line, others @ ..], [found, rest @ ..]) => line_matches(line, found) && matches(others, rest),
        _ => false,
    }
}

fn line_matches(expected: &str, found: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else { return expected == found };
    let Some(found) = found.strip_prefix(start) else { return false };
    let ends = found.char_indices().map(|(position, _)| position).chain([found.len()]);
    ends.into_iter().any(|position| line_matches(rest, &found[position..]))
}

#[test]
fn what_is_printed_is_compared() {
    let same = |expected: &str, printed: &str| matches(&lines(expected), &lines(printed));
    assert!(same("200\n", "200"));
    assert!(same("id … of …!\n…\nend", "id 1 of 2 or 3!\na\nb\nend") && same("…\nend", "end"));
    assert!(!same("200", "2000") && !same("id …!", "id 1") && !same("…\nend", "a\nend\nb") && !same("a\nb", "a"));
}

/// A folder in which a page's commands run, and a bash that runs them.
struct Reader {
    folder: TempDir,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-page-").tempdir().unwrap();
        fs::create_dir(folder.path().join("empty")).unwrap();
        Self { folder }
    }

    fn printed(&self, nth: usize) -> Option<String> {
        fs::read_to_string(self.folder.path().join(format!("printed-{nth}"))).ok()
    }

    /// Runs all blocks, and compares what they print.
    fn run(&self, blocks: &[Block]) {
        let mut script = String::from("set -e\nip link set lo up\ncd empty\n");
        for (nth, block) in blocks.iter().enumerate() {
            writeln!(script, "{{\n{}}} >../printed-{nth} 2>&1 </dev/null", block.commands).unwrap();
        }
        script.push_str("touch ../finished\n");
        fs::write(self.folder.path().join("script"), script).unwrap();
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let programs = program("tollgate").parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("unshare");
        // The processes that the commands leave behind end with their bash.
        command
            .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args((!is_root).then_some("--map-root-user"))
            .args(["--", "bash", "script"])
            .current_dir(self.folder.path())
            .env("PATH", format!("{programs}:{path}:/usr/sbin:/sbin"))
            .env("REPOSITORY", repository());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_") || name.contains("proxy")) {
            command.env_remove(name);
        }
        let mut process = Process::start(&mut command).expect("unshare, of util-linux");
        let ended = process.ends_within(PATIENCE).unwrap();
        let mut findings = Findings::new();
        for (nth, block) in blocks.iter().enumerate() {
            let printed = self.printed(nth).unwrap_or_else(|| "(not run)".to_owned());
            let (expected, found): (Vec<_>, Vec<_>) = (lines(&block.printed), lines(&printed));
            let fault = || format!("printed:\n{printed}\nexpected:\n{}", block.printed);
            findings.check(&block.commands, if matches(&expected, &found) { Ok(()) } else { Err(fault()) });
        }
        let finished = self.folder.path().join("finished").exists();
        let log = || fs::read_to_string(self.folder.path().join("empty/gateway.log")).unwrap_or_default();
        findings.check("the page", if finished { Ok(()) } else { Err(format!("{ended:?}\n{}", log())) });
    }
}

const TUTORIAL: &str = "docs/tutorials.md";
const ROTATION: &str = "docs/rotation.md";
const UPGRADING: &str = "docs/upgrading.md";

/// How the tutorial starts the program.
const PROGRAM: &str = "tollgate run --set oauth2_default_profile=bcp";

#[test]
fn the_tutorials_commands_print_what_it_says() {
    let blocks = blocks(TUTORIAL, None);
    assert!(blocks.len() > 15, "only {} blocks", blocks.len());
    Reader::new().run(&blocks);
}

/// With the settings of a package, whose folder the test cannot have.
fn with_settings_of(package: &str, others: &str) {
    let mut blocks = blocks(TUTORIAL, None);
    let start = &mut blocks[0].commands;
    assert!(start.contains(PROGRAM), "{start}");
    let packaged = format!("tollgate run --config \"$REPOSITORY/{package}\" --set data_directory=data{others}");
    *start = start.replace(PROGRAM, &packaged);
    Reader::new().run(&blocks);
}

#[test]
fn the_tutorials_commands_print_the_same_with_the_settings_of_the_debian_package() {
    with_settings_of("conf/packages/tollgate.yaml", "");
}

#[test]
fn the_tutorials_commands_print_the_same_with_the_settings_of_the_image() {
    with_settings_of("conf/packages/image/tollgate.yaml", " --set log.format=human");
}

/// Runs a page that goes on from the tutorial, after its fifth part.
fn goes_on_from_the_tutorial(page: &str) {
    let mut blocks = blocks(TUTORIAL, Some("## 6."));
    let tutorial = blocks.len();
    blocks.extend(self::blocks(page, None));
    assert!(blocks.len() > tutorial, "{page} has no commands");
    Reader::new().run(&blocks);
}

#[test]
fn the_commands_that_rotate_secrets_print_what_their_page_says() {
    goes_on_from_the_tutorial(ROTATION);
}

#[test]
fn the_commands_that_upgrade_and_roll_back_print_what_their_page_says() {
    goes_on_from_the_tutorial(UPGRADING);
}

#[test]
fn pages_with_commands_are_run() {
    let mut findings = Findings::new();
    for file in fs::read_dir(repository().join("docs")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let page = format!("docs/{}", Path::new(path.file_name().unwrap()).display());
            let has_commands = fs::read_to_string(&path).unwrap().contains("```bash\n");
            findings.compare(&page, &has_commands, &RUN.contains(&page.as_str()));
        }
    }
}

/// The pages whose blocks marked `bash` a test of this file runs.
const RUN: [&str; 3] = [TUTORIAL, ROTATION, UPGRADING];
