//! What `./dev package` packs: units, settings, man pages, completions, the Helm chart and the manifests. That packages
//! install and run on a clean root is tried by `./dev package` itself.

mod health;
mod kubernetes;
mod manual;
mod units;
