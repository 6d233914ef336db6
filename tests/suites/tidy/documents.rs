//! Consistency of the documents: links, anchors, and the sections of docs/compatibility that comments and tests
//! cite.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tollgate_tests::{Findings, repository};

use super::{files, read};

/// The folder of the pages whose sections are cited, like `oauth2.md §4.2`.
const PAGES: &str = "docs/compatibility";

/// The mark for planned features.
const MARK: &str = "**Not yet available.**";

/// The sections of a page: their numbers, and `4 code 5` for a row of a table of codes.
type Sections = BTreeSet<String>;

fn pages() -> BTreeMap<String, Sections> {
    let named = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files(PAGES, ".md").iter().map(|path| (named(path), sections(&read(path)))).collect()
}

fn sections(page: &str) -> Sections {
    let mut found = Sections::new();
    let mut current = String::new();
    for line in page.lines() {
        if line.starts_with('#') {
            let number =
                line.trim_start_matches(['#', ' ']).split(' ').next().unwrap_or_default().trim_end_matches('.');
            if number.starts_with(|first: char| first.is_ascii_digit()) {
                current = number.to_owned();
                found.insert(current.clone());
            }
        } else if let Some(codes) = line.strip_prefix("| ").and_then(|row| row.split(" |").next()) {
            found.extend(codes.split(", ").map(|code| format!("{current} code {code}")));
        }
    }
    found
}

/// The text without line breaks and comment markers, so that citations may span lines.
fn flat(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '#', '-', '>']).trim_start());
    lines.collect::<Vec<_>>().join(" ")
}

/// The citations in a text: page and section. `own`: the page for sections without one.
fn citations(text: &str, own: Option<&str>) -> Vec<(String, String)> {
    let text = flat(text);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    let mut before = "";
    while let Some(position) = rest.find('§') {
        let (skipped, sign) = rest.split_at(position);
        // For a section that follows another one, as in `§1, §2`, the page is that of the first.
        let page = page_before(if before.is_empty() { skipped } else { before }, own);
        let (section, after) = section(sign.trim_start_matches('§'));
        if let Some(page) = page {
            found.push((page.to_owned(), section));
        }
        let separators = [", §", " and §", " or §", "–§", "; §"];
        let goes_on = separators.iter().any(|separator| after.starts_with(separator));
        before = match (goes_on, before.is_empty()) {
            (true, true) => skipped,
            (true, false) => before,
            (false, _) => "",
        };
        rest = after;
    }
    found
}

/// The page named before a `§`; RFCs are skipped.
fn page_before<'t>(before: &'t str, own: Option<&'t str>) -> Option<&'t str> {
    let mut words = before.trim_end().rsplit([' ', '(', '[', '`', '/']);
    let last = words.next().unwrap_or_default();
    let is_rfc = words.next() == Some("RFC");
    if last.ends_with(".md") { Some(last) } else { own.filter(|_| !is_rfc) }
}

/// The section at the start of a text, and the text after it.
fn section(text: &str) -> (String, &str) {
    let end = text.find(|character: char| !character.is_ascii_alphanumeric() && character != '.').unwrap_or(text.len());
    let number = text.get(..end).unwrap_or_default().trim_end_matches('.');
    let after = text.get(number.len()..).unwrap_or_default();
    if let Some(code) = after.strip_prefix(", code ") {
        let digits = code.find(|character: char| !character.is_ascii_digit()).unwrap_or(code.len());
        let (code, after) = code.split_at(digits);
        return (format!("{number} code {code}"), after);
    }
    // `§7.3 a)` is section 7.3a.
    match after.as_bytes() {
        [b' ', letter @ b'a'..=b'z', b')' | b',' | b'.', ..] => {
            (format!("{number}{}", char::from(*letter)), after.get(2..).unwrap_or_default())
        }
        _ => (number.to_owned(), after),
    }
}

#[test]
fn citations_are_parsed() {
    let cited = |text: &str, own| {
        let found = citations(text, own).into_iter();
        found.map(|(page, section)| format!("{page} {section}")).collect::<Vec<_>>()
    };
    for (text, expected) in [
        ("(gateway.md §1, §1.1).", vec!["gateway.md 1", "gateway.md 1.1"]),
        ("//! (contract gateway.md §6, §7): upstream paths", vec!["gateway.md 6", "gateway.md 7"]),
        ("oauth2.md §3.1–§3.5, §3.7. And RFC 6749 §4.1", vec!["oauth2.md 3.1", "oauth2.md 3.5", "oauth2.md 3.7"]),
        ("(RFC 6749 §5.1, oauth2.md\n//! §3.4).", vec!["oauth2.md 3.4"]),
        ("gateway.md §4, code 5). gateway.md §4.", vec!["gateway.md 4 code 5", "gateway.md 4"]),
        ("(gateway.md §7.3 a), gateway.md §7.3b)", vec!["gateway.md 7.3a", "gateway.md 7.3b"]),
        ("`docs/compatibility/oauth2.md §3.6b`", vec!["oauth2.md 3.6b"]),
        ("the steps of §4.1.2 and §4.1.3", vec![]),
    ] {
        assert_eq!(cited(text, None), expected, "{text}");
    }
    assert_eq!(cited("as §2, gateway.md §3 and (RFC 6750 §2)", Some("o.md")), ["o.md 2", "gateway.md 3"]);
}

#[test]
fn cited_sections_exist() {
    let pages = pages();
    let mut findings = Findings::new();
    let mut count = 0;
    for ending in [".rs", ".sql", ".yaml", ".toml", ".md", ".py", "dev"] {
        for file in files("", ending).into_iter().filter(|file| !file.ends_with("tidy/documents.rs")) {
            let path = file.to_string_lossy().into_owned();
            let own = file.file_name().and_then(|name| name.to_str()).filter(|_| path.starts_with(PAGES));
            for (page, section) in citations(&read(&file), own) {
                count += 1;
                let exists = pages.get(&page).is_some_and(|sections| sections.contains(&section));
                let fault = || format!("{PAGES}/{page} has no section {section}");
                findings.check(&path, if exists { Ok(()) } else { Err(fault()) });
            }
        }
    }
    assert!(count > 100, "only {count} citations were found: has their format changed?");
}

#[test]
fn planned_features_are_marked_consistently() {
    let mut findings = Findings::new();
    for page in files(PAGES, ".md") {
        let text = read(&page);
        let marks = text.matches(MARK).count();
        let mentions = flat(&text).to_lowercase().matches("not yet available").count();
        findings.compare(&page.display().to_string(), &mentions, &marks);
    }
}

#[test]
fn links_in_documents_resolve() {
    let mut findings = Findings::new();
    for document in files("", ".md") {
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (local, anchor) = link.split_once('#').map_or((link, None), |(local, anchor)| (local, Some(anchor)));
            let folder = repository().join(&document).parent().unwrap().to_owned();
            let target = if local.is_empty() { repository().join(&document) } else { folder.join(local) };
            let row = format!("{}: {link}", document.display());
            findings.check(&row, if target.exists() { Ok(()) } else { Err("does not exist".to_owned()) });
            if let Some(anchor) = anchor.filter(|_| target.exists()) {
                let there = anchors(&read(&target)).contains(anchor);
                findings.check(&row, if there { Ok(()) } else { Err("has no such heading".to_owned()) });
            }
        }
    }
}

/// Anchors of headings: lower case, without punctuation, dashes for blanks.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        heading.chars().filter(|character| character.is_alphanumeric() || matches!(character, '-' | '_')).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn the_readme_links_to_every_document() {
    let readme = read(Path::new("README.md"));
    let links: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).collect();
    let mut findings = Findings::new();
    let at_the_top = files("", ".md").into_iter().filter(|file| file.components().count() == 1);
    for document in files("docs", ".md").into_iter().chain(at_the_top).filter(|file| !file.ends_with("README.md")) {
        let named = links.iter().any(|link| document.starts_with(link));
        let row = document.display().to_string();
        findings.check(&row, if named { Ok(()) } else { Err("the README does not link to it".to_owned()) });
    }
}
