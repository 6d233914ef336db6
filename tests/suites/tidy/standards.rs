//! docs/standards.md: every row has its tests, which exist, or says why it has none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tollgate_tests::Findings;

use super::{files, read};

/// A row of the page's tables.
struct Row<'p> {
    rfc: &'p str,
    text: &'p str,
    cells: Vec<&'p str>,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let mut rfc = "";
    let mut found = Vec::new();
    for text in page.lines() {
        if let Some(title) = text.strip_prefix("## RFC ") {
            rfc = title.split(',').next().unwrap_or_default();
        } else if text.starts_with("| ") && !text.starts_with("| § ") {
            let cells = text.trim_matches('|').split(" |").map(str::trim).collect();
            found.push(Row { rfc, text, cells });
        }
    }
    found
}

/// What is between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// How a row begins to say why it has no test; the reason follows.
const REASONS: [&str; 4] = ["not the gateway: ", "not done: ", "not offered: ", "not needed: "];

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let sources = ["plugins", "gateway", "tests"].into_iter().flat_map(|folder| files(folder, ".rs"));
    sources.flat_map(|source| tests_of(&read(&source))).collect()
}

/// The names of the tests in a source: what follows an attribute of a test, and what the macros that begin with
/// `on_both` make tests of.
fn tests_of(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let (mut is_test, mut in_macro) = (false, false);
    for line in source.lines() {
        let text = line.trim_start();
        if line.starts_with("on_both") && line.contains('!') {
            in_macro = true;
        } else if !line.is_empty() && text == line {
            // A macro ends where the next item begins.
            in_macro = false;
        }
        is_test |= text.starts_with("#[test]") || text.starts_with("#[tokio::test");
        let function = text.split_once("fn ").and_then(|(_, rest)| Some(rest.split_once(['(', '<'])?.0));
        // Of what is in a macro, only what is not within anything else.
        let outer = in_macro && line.strip_prefix("    ").is_some_and(|inner| inner == text);
        match function {
            Some(name) if is_test || (outer && text.starts_with("async fn ")) => drop(names.insert(name.to_owned())),
            None if outer => names.extend(listed(text)),
            _ => {}
        }
        is_test &= function.is_none() && (text.starts_with("#[") || text.starts_with("//"));
    }
    names
}

/// Names in a list, one or several in a line.
fn listed(line: &str) -> impl Iterator<Item = String> {
    let names = line.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
    let is_name =
        |name: &str| name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_');
    let all = names.clone().all(is_name);
    names.filter(move |_| all).map(str::to_owned)
}

#[test]
fn a_function_is_a_test_by_its_attribute_or_by_a_macro() {
    let source = r#"
fn no_test() {}
#[test]
#[should_panic]
fn one() {}
fn not_one() {}
    #[tokio::test(flavor = "multi_thread")]
    async fn two() {
        fn inner() {}
    }
on_both_stores! {
    async fn three(gateway: Gateway) {
        async fn inner() {}
        call(one, two);
    }
}
async fn five(backend: Backend) {}
async fn six(backend: Backend) {}
on_both!(
    five,
);
    seven,
"#;
    assert_eq!(tests_of(source), ["five", "one", "three", "two"].map(str::to_owned).into());
}

#[test]
fn each_demand_of_a_standard_has_its_tests_or_says_why_not() {
    let page = read(Path::new("docs/standards.md"));
    let (known, rows) = (tests(), rows(&page));
    let mut findings = Findings::new();
    let mut counts: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for row in &rows {
        let [section, demand, place, tests] = row.cells.as_slice() else {
            findings.check(row.text, Err("expected four cells: section, demand, where, test".to_owned()));
            continue;
        };
        let (count, seen) = counts.entry(row.rfc).or_default();
        *count += 1;
        let says_why = REASONS.iter().any(|start| place.strip_prefix(start).is_some_and(|reason| !reason.is_empty()));
        let is_complete = !section.is_empty() && !demand.is_empty() && !place.is_empty();
        let has_tests = quoted(tests).next().is_some();
        let told = if is_complete && (has_tests || says_why) { Ok(()) } else { Err("no test, and not why".to_owned()) };
        findings.check(row.text, told);
        for test in quoted(tests) {
            seen.insert(test);
            let exists = if known.contains(test) { Ok(()) } else { Err(format!("there is no test {test}")) };
            findings.check(row.text, exists);
        }
    }
    for (rfc, (count, tests)) in &counts {
        println!("RFC {rfc}: {count} rows, {} tests", tests.len());
    }
    findings.compare("RFCs on the page", &19, &counts.len());
}
