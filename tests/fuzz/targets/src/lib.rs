//! What is fuzzed: one function for each target. `./dev fuzz` calls them with what a fuzzer invents (`tests/fuzz`), and
//! a test calls them with what was kept (`tests/corpus/fuzz`). They panic if the code under test does, or if its result
//! differs from that of a second, simpler implementation.

// A finding is a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod arguments;
mod chunked;
mod connection;
mod head;
mod http2;
mod lists;
mod paths;
mod proxy_protocol;
mod router;

pub use arguments::{authorization, bodies};
pub use chunked::chunked;
pub use head::heads;
pub use http2::http2;
pub use lists::lists;
pub use paths::paths;
pub use proxy_protocol::proxy_protocol;
pub use router::router;

/// A function that takes any input.
pub type Target = fn(&[u8]);

/// All targets by name, which is that of the fuzzer's program and of the folder in the corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("heads", heads),
    ("chunked", chunked),
    ("http2", http2),
    ("paths", paths),
    ("authorization", authorization),
    ("bodies", bodies),
    ("lists", lists),
    ("proxy_protocol", proxy_protocol),
    ("router", router),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_was_kept_is_still_handled() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        for (name, target) in TARGETS {
            assert!(tests.join("fuzz/fuzz_targets").join(name).with_extension("rs").exists(), "{name} has no program");
            let folder = tests.join("corpus/fuzz").join(name);
            let inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!inputs.is_empty(), "{} is empty", folder.display());
            for input in inputs {
                println!("{}", input.display());
                target(&fs::read(input).unwrap());
            }
        }
    }
}
