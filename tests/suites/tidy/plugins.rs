//! What adding a plugin touches: its crate, its SQL, one line of the registry with the corresponding dependency,
//! one example, and one row of the documentation. The rest of the repository names no plugin.

use std::path::Path;

use tollgate_tests::Findings;

use super::layers::without_tests;
use super::{files, read};

/// The registry: one line per plugin.
const REGISTRY: &str = "gateway/server/src/plugins.rs";

/// The server's manifest, which lists its dependencies.
const SERVER: &str = "gateway/server/Cargo.toml";

/// The names of the plugins, which are those of their folders.
fn plugins() -> Vec<String> {
    let manifests = files("plugins", "Cargo.toml");
    let folder = |manifest: &Path| manifest.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    manifests.iter().map(|manifest| folder(manifest)).collect()
}

/// The lines of a file.
fn count(file: &str, is_counted: impl Fn(&str) -> bool) -> usize {
    read(Path::new(file)).lines().filter(|line| is_counted(line)).count()
}

#[test]
fn a_plugin_is_one_line_in_each_of_a_few_places() {
    let mut findings = Findings::new();
    for plugin in plugins() {
        let (package, module) = (format!("tollgate-{plugin}"), format!("tollgate_{}", plugin.replace('-', "_")));
        let begins = |start: String| move |line: &str| line.starts_with(&start);
        let holds = |part: String| move |line: &str| line.contains(&part);
        let mut compare = |place: &str, lines: usize| {
            findings.compare(&format!("{plugin}: lines in {place}"), &1, &lines);
        };
        compare("Cargo.toml", count("Cargo.toml", begins(format!("{package} = "))));
        compare(SERVER, count(SERVER, begins(format!("{package}.workspace = true"))));
        compare(REGISTRY, count(REGISTRY, holds(format!("{module}::"))));
        compare("docs/plugins.md", count("docs/plugins.md", begins(format!("| `{plugin}` | "))));
        let examples = files("conf/plugins", &format!("/{plugin}.yaml")).len();
        findings.compare(&format!("{plugin}: examples in conf/plugins"), &1, &examples);
    }
}

#[test]
fn the_gateway_names_plugins_only_in_the_registry() {
    let plugins = plugins();
    let mut findings = Findings::new();
    // The tutorial of the quickstart is about one of them.
    let sources = files("gateway", ".rs").into_iter().filter(|path| !path.starts_with("gateway/quickstart"));
    for source in sources.filter(|path| path != Path::new(REGISTRY) && !is_test(path)) {
        let code = without_tests(&read(&source));
        for plugin in &plugins {
            let names = [format!("\"{plugin}\""), format!("tollgate_{}::", plugin.replace('-', "_"))];
            let named = names.iter().find(|name| code.contains(name.as_str()));
            let row = format!("{}: {plugin}", source.display());
            findings.check(&row, named.map_or(Ok(()), |name| Err(format!("names {name}"))));
        }
    }
}

fn is_test(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.contains("/tests/")
        || path.ends_with("_tests.rs")
        || path.ends_with("/tests.rs")
        || path.ends_with("/testing.rs")
}
