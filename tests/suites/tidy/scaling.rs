//! `docs/scaling.md` says where every statement for PostgreSQL runs when tables are distributed by digest, and what it
//! needs that distributed databases lack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tollgate_tests::Findings;

use super::{files, read};

const PAGE: &str = "docs/scaling.md";

/// The tables that are distributed, by their keys.
const DISTRIBUTED: [(&str, &str); 2] = [("oauth2_tokens", "access_token"), ("oauth2_authorization_codes", "code")];

/// What distributed databases lack, and what shows that a statement needs it.
const NEEDS: [(&str, &[&str]); 7] = [
    ("notify", &["LISTEN ", "NOTIFY "]),
    ("snapshots", &["pg_snapshot", "pg_current_snapshot", "pg_visible_in_snapshot", "xid"]),
    ("log", &["_wal_", "pg_walfile_name"]),
    ("advisory", &["pg_advisory"]),
    ("locks", &["FOR UPDATE", "FOR KEY SHARE", "FOR SHARE", "FOR NO KEY UPDATE"]),
    ("sequence", &["seq", "nextval", "currval", "lastval"]),
    ("server", &["pg_stat_activity", "pg_postmaster_start_time", "pg_is_in_recovery", "transaction_read_only"]),
];

/// What sharded databases refuse for distributed tables, so that no statement may need it.
const REFUSED: [&str; 3] = ["moves", "row locks", "joins"];

/// Words that would need a decision of their own.
const UNKNOWN: [&str; 9] =
    ["RECURSIVE", "TABLESAMPLE", "LOCK TABLE", "ctid", "xmin", "GROUPING SETS", "CURSOR", "PREPARE", "pg_try_advisory"];

/// A statement without comments and line breaks.
fn statement(path: &Path) -> String {
    let text = read(path);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// The rows of the table under a heading: the cells.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let page = read(Path::new(PAGE));
    let section = page.split(&format!("\n### {heading}\n")).nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| `"));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.map(cells).collect()
}

/// Where it runs. A string of that name is no table.
fn place(sql: &str) -> &'static str {
    let sql = sql.replace("'oauth2_tokens'", "");
    if !DISTRIBUTED.iter().any(|(table, _)| sql.contains(table)) {
        return "coordinator";
    }
    let by_key = |key: &str| {
        ["WHERE", "AND"]
            .iter()
            .any(|word| sql.contains(&format!("{word} {key} = $")) || sql.contains(&format!("{word} {key} = ANY ($")))
    };
    let reads = ["FROM oauth2_", "UPDATE oauth2_", "JOIN oauth2_"].iter().any(|word| sql.contains(word));
    if !reads || DISTRIBUTED.iter().any(|(_, key)| by_key(key)) { "digest" } else { "all" }
}

fn needs(sql: &str) -> BTreeSet<&'static str> {
    let words = |word: &&str| sql.contains(*word) || sql.ends_with(word.trim_end());
    let mut needs: BTreeSet<_> =
        NEEDS.iter().filter(|(_, words_of)| words_of.iter().any(words)).map(|(need, _)| *need).collect();
    let after = |word: &str| sql.split(word).skip(1).filter_map(|rest| rest.split(' ').next()).collect::<Vec<_>>();
    let written: BTreeSet<_> =
        ["INSERT INTO ", "UPDATE oauth2_", "DELETE FROM "].iter().flat_map(|word| after(word)).collect();
    needs.extend(refused(sql));
    if written.len() > 1 {
        needs.insert("tables");
    }
    needs
}

/// Whether a text names a distributed table.
fn is_distributed(sql: &str) -> bool {
    DISTRIBUTED.iter().any(|(table, _)| sql.replace("'oauth2_tokens'", "").contains(table))
}

/// What a statement needs that is refused for distributed tables.
fn refused(sql: &str) -> BTreeSet<&'static str> {
    let mut needs = BTreeSet::new();
    for (table, key) in DISTRIBUTED {
        let update = format!("UPDATE {table} SET ");
        let updates = sql.split(&update).skip(1).filter_map(|rest| rest.split(" WHERE ").next());
        // Before `=`, or in a list before it.
        if updates.flat_map(|set| set.split([' ', ',', '(', ')', '='])).any(|word| word == key) {
            needs.insert("moves");
        }
    }
    let locks = ["FOR UPDATE", "FOR KEY SHARE", "FOR SHARE", "FOR NO KEY UPDATE"];
    for (at, _) in locks.iter().flat_map(|lock| sql.match_indices(lock)) {
        let locked = sql[..at].rsplit("SELECT").next().unwrap_or_default();
        if is_distributed(locked) {
            needs.insert("row locks");
        }
    }
    for (at, _) in sql.match_indices("EXISTS (SELECT") {
        let subquery = sql[at..].split(')').next().unwrap_or_default();
        let correlated =
            subquery.split(" = ").any(|side| side.split(' ').next_back().is_some_and(|name| name.contains('.')));
        if is_distributed(subquery) && correlated {
            needs.insert("joins");
        }
    }
    needs
}

#[test]
fn no_statement_needs_what_is_refused_for_distributed_tables() {
    let mut findings = Findings::new();
    for path in files("sql/postgres", ".sql") {
        if !path.display().to_string().contains("migrations/") {
            findings.compare(&path.display().to_string(), &BTreeSet::new(), &refused(&statement(&path)));
        }
    }
    // It would be seen.
    let moved = "UPDATE oauth2_tokens SET (scope, access_token) = ($1, $2) WHERE id = $3";
    let locked =
        "DELETE FROM oauth2_tokens WHERE id IN (SELECT id FROM oauth2_tokens WHERE ttl < $1 FOR UPDATE SKIP LOCKED)";
    let joined =
        "SELECT a FROM b WHERE NOT EXISTS (SELECT 1 FROM oauth2_tokens WHERE oauth2_tokens.credential_id = b.a)";
    assert_eq!(refused("UPDATE oauth2_tokens SET access_token=$1 WHERE id = $2"), refused(moved));
    let seen: Vec<_> = [moved, locked, joined].iter().flat_map(|sql| refused(sql)).collect();
    assert_eq!(seen, REFUSED);
    let explained: Vec<String> = rows("What they lack").iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    for need in REFUSED {
        assert!(explained.iter().any(|explained| explained == need), "{need} in {PAGE}");
    }
}

#[test]
fn every_statement_is_classified_for_shards() {
    let mut findings = Findings::new();
    let listed = rows("Statements").into_iter().map(|row| (row[0].trim_matches('`').to_owned(), row[1..].join(" | ")));
    let mut listed: BTreeMap<String, String> = listed.collect();
    for path in files("sql/postgres", ".sql") {
        let name = path.strip_prefix("sql/postgres").unwrap().to_string_lossy().into_owned();
        if name.contains("migrations/") {
            continue;
        }
        let sql = statement(&path);
        let needs = needs(&sql).into_iter().collect::<Vec<_>>().join(", ");
        let expected = format!("{} | {needs}", place(&sql));
        findings.compare(&format!("{name} in {PAGE}"), &Some(expected), &listed.remove(&name));
        let unknown: Vec<_> = UNKNOWN.iter().filter(|word| sql.contains(**word)).collect();
        findings.compare(&format!("{name}: words that {PAGE} does not explain"), &Vec::new(), &unknown);
    }
    findings.compare("statements that do not exist", &BTreeMap::new(), &listed);
}

#[test]
fn nothing_that_is_distributed_depends_on_a_sequence_and_every_need_is_explained() {
    let explained: BTreeSet<String> =
        rows("What they lack").iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    for row in rows("Statements") {
        let needs: Vec<_> = row[2].split(", ").filter(|need| !need.is_empty()).collect();
        assert!(needs.iter().all(|need| explained.contains(*need)), "{row:?}: {explained:?}");
        let of_one_server = ["sequence", "snapshots", "log", "advisory", "notify", "server"];
        let on_shards = row[1] != "coordinator";
        assert!(!on_shards || !needs.iter().any(|need| of_one_server.contains(need)), "{row:?}");
    }
    for path in files("sql/postgres", ".sql") {
        let sql = statement(&path);
        let sequences = ["IDENTITY", "serial", "SEQUENCE"].map(|word| sql.matches(word).count()).iter().sum::<usize>();
        let allowed = usize::from(path.ends_with("migrations/0001_entities.sql"));
        assert_eq!(sequences, allowed, "{}: a sequence has no order across shards", path.display());
    }
}

#[test]
fn every_unique_constraint_of_a_distributed_table_is_explained() {
    let listed: BTreeSet<String> = rows("Constraints").iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let mut found = BTreeSet::new();
    for path in files("sql/postgres/oauth2/migrations", ".sql") {
        for table in statement(&path).split("CREATE TABLE ").skip(1) {
            let table = table.split(");").next().unwrap();
            let name = table.split(' ').next().unwrap();
            if !DISTRIBUTED.iter().any(|(distributed, _)| *distributed == name) {
                continue;
            }
            let lines = table.split(", ").filter(|line| line.contains("UNIQUE") || line.contains("PRIMARY KEY"));
            let constraints = lines.map(|line| match line.split("CONSTRAINT ").nth(1) {
                Some(named) => named.split(' ').next().unwrap().to_owned(),
                None => format!("{name}.{}", line.rsplit('(').next().unwrap().split_whitespace().next().unwrap()),
            });
            found.extend(constraints);
        }
        let sql = statement(&path);
        assert!(!sql.contains("CREATE UNIQUE INDEX"), "{}: list it in {PAGE}", path.display());
    }
    assert_eq!(listed, found);
}
