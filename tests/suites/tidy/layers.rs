//! The modules of a crate in layers: each may import from its own layer and from lower ones.
//!
//! The layers are listed in docs/architecture.md, in the table below a heading `Inside <crate>`, the lowest
//! first. Tests are exempt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tollgate_tests::Findings;

use super::{files, read};

const PAGE: &str = "docs/architecture.md";

/// A crate with documented layers, and the folder of its sources.
const LAYERED: [(&str, &str); 3] =
    [("oauth2", "plugins/oauth2/src"), ("the kit", "gateway/plugin/src"), ("third-party", "gateway/third-party/src")];

/// The folder of a crate's sources, and its import cycles, which the page lists with the reason.
const CYCLES: [(&str, &[&[&str]]); 12] = [
    ("gateway/core/src", &[]),
    ("gateway/declarative/src", &[]),
    ("gateway/router/src", &[]),
    ("gateway/admin/src", &[]),
    ("gateway/dns/src", &[]),
    ("gateway/http-client/src", &[&["call", "client", "profile"]]),
    ("gateway/plugin/src", &[]),
    ("gateway/store/src", &[&["collection", "store"], &DATABASE]),
    ("gateway/jose/src", &[]),
    ("gateway/third-party/src", &[]),
    ("gateway/server/src", &[]),
    ("plugins/oauth2/src", &[]),
];

/// The modules written for either database, and the drivers.
const DATABASE: [&str; 11] = [
    "database",
    "entity",
    "feed",
    "migration",
    "options",
    "postgres",
    "row",
    "session",
    "sqlite",
    "transaction",
    "work",
];

/// An import of another module of the crate, and the file that contains it.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn modules_import_from_their_own_layer_and_lower_ones() {
    let mut findings = Findings::new();
    for (name, folder) in LAYERED {
        let layers = layers(&read(Path::new(PAGE)), name);
        let layer = |module: &str| layers.iter().position(|layer| layer.iter().any(|known| known == module));
        let imports = imports(folder);
        for (module, imported) in &imports {
            let times = layers.iter().flatten().filter(|known| *known == module).count();
            findings.compare(&format!("{folder}/{module}: layers in {PAGE} that list it"), &1, &times);
            for (other, file) in imported {
                let upward = layer(module).zip(layer(other)).is_some_and(|(below, above)| below < above);
                let why = || Err(format!("imports crate::{other}, which is in a layer above {module}"));
                findings.check(file, if upward { why() } else { Ok(()) });
            }
        }
        let unknown: Vec<_> = layers.iter().flatten().filter(|module| !imports.contains_key(*module)).collect();
        findings.compare(&format!("{PAGE}: modules of {name} that do not exist"), &Vec::new(), &unknown);
    }
}

#[test]
fn modules_form_only_the_documented_import_cycles() {
    let mut findings = Findings::new();
    for (folder, known) in CYCLES {
        let known: BTreeSet<BTreeSet<String>> =
            known.iter().map(|cycle| cycle.iter().map(|&module| module.to_owned()).collect()).collect();
        findings.compare(folder, &known, &cycles(&imports(folder)));
    }
}

/// The modules in a crate's table, layer by layer: the names in backticks in its second column.
fn layers(page: &str, name: &str) -> Vec<Vec<String>> {
    let heading = format!("## Inside {name}");
    let section = page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let rows = section.filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
    let layers = rows.map(|modules| modules.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    layers.filter(|modules| !modules.is_empty()).collect()
}

/// The groups of modules that can all reach each other.
fn cycles(imports: &Imports) -> BTreeSet<BTreeSet<String>> {
    let reached = |from: &str| {
        let (mut reached, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(module) = left.pop() {
            for other in imports.get(&module).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(other.clone()) {
                    left.push(other.clone());
                }
            }
        }
        reached
    };
    let all: BTreeMap<&String, BTreeSet<String>> = imports.keys().map(|module| (module, reached(module))).collect();
    all.iter()
        .filter(|(module, reached)| reached.contains(**module))
        .map(|(module, reached)| reached.iter().filter(|other| all[*other].contains(*module)).cloned().collect())
        .collect()
}

/// The modules below a folder. A file and the folder with its name are one module.
fn imports(folder: &str) -> Imports {
    let sources = files(folder, ".rs");
    let texts: Vec<(String, String)> = sources
        .iter()
        .map(|source| (source.strip_prefix(folder).unwrap().to_string_lossy().into_owned(), read(source)))
        .collect();
    let tests: Vec<String> = texts.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_test = |path: &str| {
        path.ends_with("_tests.rs")
            || tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")))
    };
    let module = |path: &str| path.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
    let modules: BTreeSet<String> = texts.iter().map(|(path, _)| module(path)).collect();
    let mut imports = Imports::new();
    for (path, text) in texts.iter().filter(|(path, _)| !is_test(path)) {
        let (module, file) = (module(path), format!("{folder}/{path}"));
        let imported = imports.entry(module.clone()).or_default();
        for name in imported_names(&without_tests(text)) {
            // Other names are items of the crate root.
            let name = if modules.contains(&name) { name } else { "lib".to_owned() };
            if name != module {
                imported.entry(name).or_insert_with(|| file.clone());
            }
        }
    }
    imports
}

/// Whether this attribute restricts the next item to tests.
fn is_for_tests(attribute: &str) -> bool {
    attribute == "#[cfg(test)]" || attribute.starts_with("#[cfg(all(test, ")
}

/// The files or folders, without `.rs`, of the modules that a file declares only for tests.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let folder = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let folder = if folder == "lib" { String::new() } else { format!("{folder}/") };
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.windows(2).filter(|pair| is_for_tests(pair[0])).filter_map(|pair| {
        let (_, name) = pair[1].strip_suffix(';')?.split_once("mod ")?;
        Some(format!("{folder}{name}"))
    });
    declared.collect()
}

/// The code of a file without comments and test-only items.
pub(super) fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if !is_for_tests(line.trim_start()) {
            code.extend([line, "\n"]);
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let ends = |line: &str| line.len() == indent + 1 && line.ends_with('}');
        let first = lines.next().unwrap_or_default();
        if !first.ends_with(';') {
            lines.by_ref().find(|line| ends(line));
        }
    }
    code
}

/// The names after `crate::`, single or in braces.
fn imported_names(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let name =
            |text: &str| text.trim().split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap().to_owned();
        match rest.strip_prefix('{').and_then(|rest| rest.split_once("};")) {
            Some((group, _)) => {
                let mut depth = 0;
                let separates = |c: char| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    c == ',' && depth == 0
                };
                names.extend(group.split(separates).map(name));
            }
            None => names.push(name(rest)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}
