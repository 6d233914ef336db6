//! Load tester for gateways that check opaque OAuth2 tokens.
//!
//! 1. [`scenario`]: what is sent, how fast and for how long; YAML.
//! 2. [`provision`] makes what that takes through the Admin API, and writes it down ([`state`]).
//! 3. [`run`]: [`generator`] threads send what [`workload`] chooses when [`timing`] says, over
//!    [`connection`]s; [`tally`] and [`recorder`] count it; [`revocation`] goes on beside it.
//! 4. [`outage`] puts together what was answered when; [`live`] shows it, [`report`] writes it, [`compare`] judges it ([`outcome`] is the model).
//!
//! What is measured is also checked: every status, and a sample of who the gateway said requests
//! were from.

pub mod admin;
pub mod arguments;
pub mod compare;
pub mod connection;
pub mod endpoint;
pub mod failure;
pub mod generator;
pub mod health;
mod http1;
pub mod live;
pub mod mix;
pub mod outage;
pub mod outcome;
pub mod provision;
pub mod recorder;
pub mod report;
pub mod revocation;
pub mod run;
pub mod scenario;
pub mod scrape;
pub mod span;
pub mod state;
pub mod tally;
pub mod timing;
pub mod upstream;
pub mod workload;
