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

/// The names of all functions in tests and sources.
fn functions() -> BTreeSet<String> {
    let sources = ["plugins", "gateway", "tests"].into_iter().flat_map(|folder| files(folder, ".rs"));
    let mut names = BTreeSet::new();
    for source in sources {
        for line in read(&source).lines() {
            let Some((_, rest)) = line.split_once("fn ") else { continue };
            names.extend(rest.split_once('(').map(|(name, _)| name.to_owned()));
        }
    }
    names
}

#[test]
fn each_demand_of_a_standard_has_its_tests_or_says_why_not() {
    let page = read(Path::new("docs/standards.md"));
    let (functions, rows) = (functions(), rows(&page));
    let mut findings = Findings::new();
    let mut counts: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for row in &rows {
        let [section, demand, place, tests] = row.cells.as_slice() else {
            findings.check(row.text, Err("expected four cells: section, demand, where, test".to_owned()));
            continue;
        };
        let (count, seen) = counts.entry(row.rfc).or_default();
        *count += 1;
        let says_why = ["not ", "optional"].iter().any(|word| place.contains(word));
        let is_complete = !section.is_empty() && !demand.is_empty() && !place.is_empty();
        let has_tests = quoted(tests).next().is_some();
        let told = if is_complete && (has_tests || says_why) { Ok(()) } else { Err("no test, and not why".to_owned()) };
        findings.check(row.text, told);
        for test in quoted(tests) {
            seen.insert(test);
            let exists = if functions.contains(test) { Ok(()) } else { Err(format!("there is no test {test}")) };
            findings.check(row.text, exists);
        }
    }
    for (rfc, (count, tests)) in &counts {
        println!("RFC {rfc}: {count} rows, {} tests", tests.len());
    }
    findings.compare("RFCs on the page", &19, &counts.len());
}
