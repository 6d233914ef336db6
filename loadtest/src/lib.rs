//! Load tester for gateways that check opaque OAuth2 tokens.
//!
//! 1. [`scenario`]: what is sent, how fast and for how long; YAML.
//! 2. [`provision`] creates what a scenario needs through the Admin API, and records it ([`state`]).
//! 3. [`run`]: [`generator`] threads send what [`workload`] chooses at the times of [`timing`], over
//!    [`connection`]s; [`counters`] and [`recorder`] count responses; [`revocation`] runs in parallel.
//! 4. [`fault`] breaks and repairs a store during a run; [`outage`] summarises responses over time; [`live`] shows
//!    results, [`report`] writes them, [`compare`] compares them ([`outcome`] is the model, [`spread`] that of repeated
//!    runs).
//!
//! Responses are also checked: every status, and a sample of the identity headers that the upstream echoes.

pub mod admin;
pub mod arguments;
pub mod compare;
pub mod connection;
pub mod counters;
pub mod endpoint;
pub mod failure;
pub mod fault;
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
pub mod spread;
pub mod state;
pub mod third_party;
pub mod timing;
pub mod upstream;
pub mod workload;
