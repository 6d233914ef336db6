//! Stops a build with our patches: what the gateway is measured against is Pingora as published.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What a patched pingora-proxy tells those who depend on it: see gateway/pingora/lay.
    if env::var_os("DEP_PINGORA_SERIES_DIGEST").is_some() {
        println!(
            "cargo::error=smallest-pingora would be built with our patches to Pingora, because cargo was called inside \
             of the repository; `./dev bench` calls it outside"
        );
    }
}
