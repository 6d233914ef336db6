//! Detects which Pingora the gateway is built with: as published, or with the patches of
//! `gateway/pingora`. Code that needs a patch is behind `cfg(pingora_patched)`.

use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(pingora_patched)");
    println!("cargo::rustc-env=PINGORA_VERSION={}", locked_version());
    // Metadata from a patched pingora-proxy: see gateway/pingora/lay.
    let metadata = |key| env::var(format!("DEP_PINGORA_SERIES_{key}")).ok();
    if let (Some(patches), Some(digest)) = (metadata("PATCHES"), metadata("DIGEST")) {
        println!("cargo::rustc-cfg=pingora_patched");
        println!("cargo::rustc-env=PINGORA_PATCHES={patches}");
        println!("cargo::rustc-env=PINGORA_SERIES={digest}");
    }
}

/// The version of Pingora that `Cargo.lock` has.
fn locked_version() -> String {
    let path = format!("{}/../../Cargo.lock", env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rerun-if-changed={path}");
    let lock = fs::read_to_string(path).unwrap_or_default();
    let version = lock.split("\n\n").find_map(|package| {
        package.contains("name = \"pingora-proxy\"\n").then_some(package)?;
        package.lines().find_map(|line| line.strip_prefix("version = "))
    });
    version.unwrap_or("unknown").trim_matches('"').to_owned()
}
