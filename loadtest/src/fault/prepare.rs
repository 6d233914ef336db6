//! Prepares a run with faults: the steps of its load, and who breaks the store.

use super::{Breaker, Commands, Kind, Site, SiteError, steps};
use crate::arguments::RunArgs;
use crate::scenario::{Load, Scenario, ScenarioError};
use crate::workload;

/// Why a run with faults cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The gateway of its own.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Nobody but root can mount a disk for another account.
    #[error("only root can fill a disk: leave `full` out of --faults, or run this as root")]
    NotRoot,
}

/// A run with faults.
pub struct Prepared {
    /// The arguments, with the addresses of the gateway of its own if it has one.
    pub args: RunArgs,
    /// Who breaks the store, if anybody.
    pub breaker: Option<Box<dyn Breaker>>,
    /// The gateway of its own.
    pub site: Option<Site>,
}

/// Prepares what the arguments say; without faults nothing changes.
///
/// # Errors
/// If the scenario has no rate, or the gateway of its own cannot be started.
pub fn prepare(args: &RunArgs, scenario: &mut Scenario) -> Result<Prepared, PrepareError> {
    let mut args = args.clone();
    if let Some(program) = args.gateway.clone() {
        let kinds = kinds(&args.faults)?;
        divide(scenario, &kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>())?;
        let (site, store) = Site::start(&program, kinds, workload::tokens(scenario))?;
        args.proxy = format!("http://{}", site.proxy);
        args.admin = format!("http://{}", site.admin);
        args.metrics = Some(format!("http://{}", site.status));
        args.state = site.state();
        return Ok(Prepared { args, breaker: Some(Box::new(store)), site: Some(site) });
    }
    let mut breaker: Option<Box<dyn Breaker>> = None;
    if let (Some(break_store), Some(repair)) = (args.break_store.clone(), args.repair.clone()) {
        let commands = Commands { break_store, repair };
        divide(scenario, &commands.faults())?;
        breaker = Some(Box::new(commands));
    }
    Ok(Prepared { args, breaker, site: None })
}

fn kinds(given: &[Kind]) -> Result<Vec<Kind>, PrepareError> {
    if given.contains(&Kind::Full) && !is_root() {
        return Err(PrepareError::NotRoot);
    }
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    Ok(Kind::ALL.into_iter().filter(|kind| *kind != Kind::Full || is_root()).collect())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Divides the scenario's time among the faults.
fn divide(scenario: &mut Scenario, faults: &[String]) -> Result<(), ScenarioError> {
    let reason = "faults of the store need `load: {rate: …}`, which is the same before, during and after them";
    let none = || ScenarioError::Contradiction { origin: scenario.name.clone(), reason };
    let rate = scenario.load.rate.ok_or_else(none)?;
    scenario.load = Load { steps: Some(steps(faults, rate, scenario.duration.0)), ..Load::default() };
    Ok(())
}
