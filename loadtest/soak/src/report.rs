//! The report of a run: Markdown for people, JSON for programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tollgate_tests::rounds::Tally;
use tollgate_tests::upgrades::{self, Served};

use crate::flatness::{Trend, trends};
use crate::load::Load;
use crate::machine::Machine;
use crate::sample::Sample;

/// What a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    soak: Option<Soak>,
    rounds: Option<RoundsOutcome>,
    upgrades: Option<UpgradesOutcome>,
}

/// The mixed load.
#[derive(Debug, Serialize)]
struct Soak {
    seconds: f64,
    load: Load,
    trends: Vec<Trend>,
    samples: Vec<Sample>,
}

/// The rounds in which processes were killed.
#[derive(Debug, Serialize)]
struct RoundsOutcome {
    summary: String,
    rounds: usize,
    violations: Vec<String>,
}

/// The upgrades under load.
#[derive(Debug, Serialize)]
struct UpgradesOutcome {
    summary: String,
    failed: Vec<String>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { machine: Machine::here(), soak: None, rounds: None, upgrades: None }
    }

    /// Adds the mixed load.
    pub(crate) fn load(&mut self, duration: Duration, load: Load, samples: Vec<Sample>) {
        self.soak = Some(Soak { seconds: duration.as_secs_f64(), load, trends: trends(&samples), samples });
    }

    /// Adds the rounds.
    pub(crate) fn rounds(&mut self, tally: Tally) {
        let outcome = RoundsOutcome { summary: tally.to_string(), rounds: tally.rounds, violations: tally.violations };
        self.rounds = Some(outcome);
    }

    /// Adds the upgrades.
    pub(crate) fn upgrades(&mut self, count: usize, served: Served) {
        let Served { http1, http2, messages, uploads, .. } = served;
        let summary = format!(
            "{count} upgrades and {} reloads at {:.0} requests a second: {http1} over HTTP/1.1, {http2} over HTTP/2, \
             {messages} messages of WebSockets, {uploads} slow uploads, {} failed",
            count * upgrades::RELOADS,
            served.per_second(),
            served.failed.len()
        );
        self.upgrades = Some(UpgradesOutcome { summary, failed: served.failed });
    }

    /// Whether everything was right, and nothing grew.
    pub(crate) fn holds(&self) -> bool {
        let soak = self.soak.as_ref().is_none_or(|soak| {
            let worked = soak.load.identities > 0 && soak.load.wrong == 0;
            worked && soak.trends.iter().all(|trend| trend.flat)
        });
        let rounds = self.rounds.as_ref().is_none_or(|rounds| rounds.violations.is_empty());
        soak && rounds && self.upgrades.as_ref().is_none_or(|upgrades| upgrades.failed.is_empty())
    }

    /// The verdict in a line or two.
    pub(crate) fn summary(&self) -> String {
        let mut text = if self.holds() { "Held.".to_owned() } else { "FAILED.".to_owned() };
        if let Some(soak) = &self.soak {
            let grown: Vec<&str> = soak.trends.iter().filter(|trend| !trend.flat).map(|trend| trend.name).collect();
            let grown =
                if grown.is_empty() { "nothing grew".to_owned() } else { format!("grew: {}", grown.join(", ")) };
            let Load { requests, identities, wrong, .. } = soak.load;
            text += &format!(
                " {:.0} s of load: {requests} requests with tokens, {identities} identities right, {wrong} wrong; {grown}.",
                soak.seconds
            );
        }
        if let Some(rounds) = &self.rounds {
            text += &format!(" {}.", rounds.summary);
        }
        if let Some(upgrades) = &self.upgrades {
            text += &format!(" {}.", upgrades.summary);
        }
        text
    }

    /// Writes `<date>-<commit>-soak.json` and `.md`; returns the path of the page.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let Machine { date, commit, dirty, .. } = &self.machine;
        let name = format!("{date}-{commit}{}-soak", if *dirty { "-dirty" } else { "" });
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(self)? + "\n")?;
        let page = folder.join(format!("{name}.md"));
        fs::write(&page, self.page())?;
        Ok(page)
    }

    fn page(&self) -> String {
        let Machine { date, commit, dirty, build, processor, processors, kernel } = &self.machine;
        let mut page = format!("# Soak on {date} at commit {commit}\n\n");
        if *dirty {
            page += "The working tree had uncommitted changes.\n\n";
        }
        page +=
            &format!("{}\n\n- {build} build; {processors} processors ({processor}), Linux {kernel}\n", self.summary());
        if let Some(soak) = &self.soak {
            page += &soak_section(soak);
        }
        if let Some(rounds) = &self.rounds {
            page += &format!("\n## Kill rounds\n\n{}.\n", rounds.summary);
            page += &list("Violations", &rounds.violations);
        }
        if let Some(upgrades) = &self.upgrades {
            page += &format!("\n## Upgrades\n\n{}.\n", upgrades.summary);
            page += &list("Failed", &upgrades.failed);
        }
        page
    }
}

fn soak_section(soak: &Soak) -> String {
    let load = &soak.load;
    let mut page = format!(
        "- two nodes on one PostgreSQL (durable commits): one runs all the time and is measured, the other was restarted \
         {} times after SIGTERM and {} times after SIGKILL\n\n## Load\n\n| what | count |\n|---|---|\n",
        load.restarts, load.kills
    );
    for (what, count) in [
        ("requests with a valid token", load.requests),
        ("of these with the right user at the upstream", load.identities),
        ("requests with an unknown token", load.unknown),
        ("requests on a new connection", load.connections),
        ("requests given up by the client", load.aborted),
        ("tokens issued", load.issued),
        ("refreshed", load.refreshed),
        ("revoked, and refused on both nodes afterwards", load.revoked),
        ("APIs created, changed, used and deleted", load.apis),
        ("requests to a node that was down (not judged)", load.not_judged),
        ("**wrong**", load.wrong),
    ] {
        page += &format!("| {what} | {count} |\n");
    }
    page += "\n## What the measured node uses\n\nFlat: the median of the last fifth of the run is at most a tenth, and a \
             small allowance, above the median of the middle fifth.\n\n\
             | what | middle | end | allowed | |\n|---|---|---|---|---|\n";
    for Trend { name, unit, middle, end, allowed, flat } in &soak.trends {
        let verdict = if *flat { "flat" } else { "**grew**" };
        page += &format!("| {name} | {middle:.1} {unit} | {end:.1} {unit} | {allowed:.1} {unit} | {verdict} |\n");
    }
    page + &list("Wrong", &load.violations)
}

fn list(title: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = lines.iter().take(50).map(|line| format!("- {line}")).collect();
    format!("\n## {title}\n\n{}\n", lines.join("\n"))
}
