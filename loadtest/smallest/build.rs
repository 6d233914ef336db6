//! Rejects a build with our patches: the gateway's baseline is published Pingora.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Metadata that a patched pingora-proxy passes to its dependents: see gateway/pingora/lay.
    if env::var_os("DEP_PINGORA_SERIES_DIGEST").is_some() {
        println!(
            "cargo::error=smallest-pingora would be built with our patches to Pingora, because cargo was called inside \
             of the repository; `./dev bench` calls it outside"
        );
    }
}
