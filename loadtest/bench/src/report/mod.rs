//! The results of a run, as JSON, Markdown and a chart.

mod chart;
mod markdown;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::machine::Machine;
use crate::measurement::Measurement;
use crate::options::Amounts;
use crate::row;
use crate::sample::{Sample, Spread};
use crate::target::{self, Judged};

/// One row with its figures.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// Its description.
    pub about: &'static str,
    /// The row that it is compared with.
    pub peer: Option<&'static str>,
    /// CPU time per request, in microseconds.
    pub micros: Spread,
    /// Its ratio to nginx's in the same round.
    pub to_floor: Option<Spread>,
    /// Its ratio to the peer's in the same round.
    pub to_peer: Option<Spread>,
    /// Responses per second.
    pub rate: Spread,
    /// Instructions per request, if counters are available.
    pub instructions: Option<Spread>,
    /// By round; null for a failed round.
    pub rounds: Vec<Option<Sample>>,
}

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// The amounts.
    pub amounts: Amounts,
    /// Stolen time during the run, in percent.
    pub stolen_percent: f64,
    /// The rows.
    pub rows: Vec<Outcome>,
    /// Other figures.
    pub figures: Vec<Figure>,
    /// The targets.
    pub targets: Vec<Judged>,
    /// What could not be measured, with the reason.
    pub failures: Vec<(String, String)>,
}

impl Report {
    /// Creates it from measurements.
    pub fn new(
        machine: Machine,
        amounts: Amounts,
        stolen_percent: f64,
        measurement: &Measurement,
        figures: Vec<Figure>,
    ) -> Self {
        let targets = target::judge(measurement, &figures);
        let rows = measurement.samples.iter().filter_map(|(row, rounds)| outcome(row, rounds, measurement)).collect();
        let failures = measurement.failures.iter().map(|(name, why)| ((*name).to_owned(), why.clone())).collect();
        Self { machine, amounts, stolen_percent, rows, figures, targets, failures }
    }

    /// Writes `<date>-<commit>.json`, `.md` and `.svg`; returns the path of the page.
    pub fn write(&self, folder: &Path, suffix: &str) -> Result<PathBuf> {
        let Machine { date, commit, dirty, .. } = &self.machine;
        let dirty = if *dirty { "-dirty" } else { "" };
        let name = format!("{date}-{commit}{dirty}{suffix}");
        let document = serde_json::to_string_pretty(self).map_err(Error::store)?;
        let chart = format!("{name}.svg");
        let page = folder.join(format!("{name}.md"));
        let write = || {
            fs::create_dir_all(folder)?;
            fs::write(folder.join(format!("{name}.json")), document + "\n")?;
            fs::write(folder.join(&chart), chart::draw(self) + "\n")?;
            fs::write(&page, markdown::page(self, &chart))
        };
        write().map_err(Error::system(format!("cannot write results to {}", folder.display())))?;
        Ok(page)
    }

    /// The summary for a terminal.
    pub fn summary(&self) -> String {
        markdown::summary(self)
    }
}

fn outcome(row: &row::Row, rounds: &[Option<Sample>], measurement: &Measurement) -> Option<Outcome> {
    let spread = |of: fn(&Sample) -> f64| Spread::of(rounds.iter().flatten().map(of));
    let ratio = |peer: &str| Spread::of_ratios(rounds, measurement.of(peer)?);
    Some(Outcome {
        name: row.name,
        about: row.about,
        peer: row.peer,
        micros: spread(|sample| sample.micros)?,
        to_floor: ratio(row::FLOOR),
        to_peer: row.peer.and_then(ratio),
        rate: spread(|sample| sample.rate)?,
        instructions: Spread::of(rounds.iter().flatten().filter_map(|sample| sample.instructions)),
        rounds: rounds.to_vec(),
    })
}
