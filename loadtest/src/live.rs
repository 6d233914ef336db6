//! Live output of a run: a terminal view, or plain lines.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};

use crate::outcome::{Outage, Second, Trouble};

/// How often keys are polled.
const FRAME: Duration = Duration::from_millis(100);
const WRONG: &str = "WRONG ANSWERS";
/// Seconds in the rate chart.
const HISTORY: usize = 240;

/// Where a run is displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Full-screen terminal view.
    Terminal,
    /// One line per second.
    Plain,
    /// No output.
    Silent,
}

/// An update to display.
#[derive(Debug, Clone)]
pub enum Update {
    /// The run starts.
    Started {
        /// The scenario's name.
        scenario: String,
        /// The target address.
        target: String,
        /// The planned duration, in seconds.
        seconds: u64,
    },
    /// A finished second.
    Second(Box<Second>),
    /// A progress note.
    Note(String),
}

/// Displays updates on its own thread until the sender is dropped. `q` and Ctrl-C set `stop`.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(view: View, updates: Receiver<Update>, stop: Arc<AtomicBool>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("live".to_owned()).spawn(move || match view {
        View::Silent => updates.iter().for_each(drop),
        View::Plain => plain(&updates, &mut io::stderr()),
        View::Terminal => {
            let shown = ratatui::try_init().and_then(|terminal| whole_terminal(terminal, &updates, &stop));
            ratatui::restore();
            if shown.is_err() {
                plain(&updates, &mut io::stderr());
            }
        }
    })
}

fn plain(updates: &Receiver<Update>, out: &mut impl Write) {
    for update in updates {
        let written = match update {
            Update::Started { scenario, target, seconds } => {
                writeln!(out, "{scenario} against {target}, {seconds} s; press Ctrl-C to stop and report")
            }
            Update::Second(second) => writeln!(out, "{}", line(&second)),
            Update::Note(note) => writeln!(out, "{note}"),
        };
        if written.is_err() {
            return;
        }
    }
}

/// Formats a second as one line.
pub fn line(second: &Second) -> String {
    let summary = &second.summary;
    let statuses: Vec<String> = summary.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    let errors: Vec<String> = summary.errors.iter().map(|(name, count)| format!(", {name}: {count}")).collect();
    let hits = second.cache_hit_ratio.map_or_else(String::new, |ratio| format!("  hits {:.1} %", ratio * 100.0));
    let wrong = if second.wrong > 0 { format!("  WRONG: {}", second.wrong) } else { String::new() };
    let latency = &summary.latency;
    format!(
        "{:>4.0} s {:>9.0}/s  p50 {:>8}  p99 {:>8}  p99.9 {:>8}  max {:>8}  {}{}{wrong}{hits}",
        second.at + 1.0,
        summary.rate,
        duration(latency.p50),
        duration(latency.p99),
        duration(latency.p999),
        duration(latency.max),
        statuses.join(", "),
        errors.concat(),
    )
}

/// Formats microseconds in a readable unit.
pub fn duration(micros: f64) -> String {
    match micros {
        micros if micros < 1000.0 => format!("{micros:.0} µs"),
        micros if micros < 100_000.0 => format!("{:.2} ms", micros / 1e3),
        micros if micros < 1e6 => format!("{:.0} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// Describes in a sentence when requests were not served.
pub fn trouble(outage: &Outage) -> String {
    match outage.trouble {
        None => "No request got an error or 5xx status: was the store stopped at all?".to_owned(),
        Some(Trouble { from, to, recovered }) => format!(
            "Requests were not served from {from:.2} s to {to:.2} s; {}.",
            if recovered {
                "every kind of request was served again afterwards"
            } else {
                "not every kind of request was served again"
            }
        ),
    }
}

#[derive(Default)]
struct Screen {
    title: String,
    seconds: u64,
    rates: VecDeque<u64>,
    last: Second,
    /// Responses by status, and errors, since the start.
    so_far: BTreeMap<String, u64>,
    notes: VecDeque<String>,
    /// Whether the run is stopping.
    ending: bool,
}

fn whole_terminal(mut terminal: DefaultTerminal, updates: &Receiver<Update>, stop: &AtomicBool) -> io::Result<()> {
    let mut screen = Screen::default();
    loop {
        match updates.recv_timeout(FRAME) {
            Ok(update) => screen.take(update),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()? {
                let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                let is_stopped = stop.load(Ordering::Relaxed);
                if interrupt && is_stopped {
                    // In raw mode Ctrl-C is a key, not a signal, so the second one must be handled here.
                    ratatui::restore();
                    std::process::exit(130);
                }
                if interrupt || key.code == KeyCode::Char('q') {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
        screen.ending = stop.load(Ordering::Relaxed);
        terminal.draw(|frame| screen.draw(frame))?;
    }
}

impl Screen {
    fn take(&mut self, update: Update) {
        match update {
            Update::Started { scenario, target, seconds } => {
                self.title = format!(" {scenario} → {target} ");
                self.seconds = seconds;
            }
            Update::Second(second) => {
                self.rates.push_back(second.summary.responses);
                for (what, count) in endings(&second) {
                    *self.so_far.entry(what).or_default() += count;
                }
                self.last = *second;
            }
            Update::Note(note) => self.notes.push_back(note),
        }
        while self.rates.len() > HISTORY {
            self.rates.pop_front();
        }
        while self.notes.len() > 3 {
            self.notes.pop_front();
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let parts = [Constraint::Length(7), Constraint::Length(4), Constraint::Min(4), Constraint::Length(5)];
        let [rates, percentiles, responses, notes] = Layout::vertical(parts).areas(frame.area());
        let width = usize::from(rates.width.saturating_sub(2));
        let shown: Vec<u64> = self.rates.iter().skip(self.rates.len().saturating_sub(width)).copied().collect();
        let title = if self.rates.is_empty() {
            format!("{} warming up ", self.title)
        } else {
            let (now, rate) = (self.last.at + 1.0, self.last.summary.rate);
            format!("{} {now:.0} / {} s, {rate:.0} per second ", self.title, self.seconds)
        };
        let keys =
            if self.ending { " finishing requests in progress; Ctrl-C: exit at once " } else { " q: stop and report " };
        frame.render_widget(Sparkline::default().data(shown).block(Block::bordered().title(title)), rates);
        frame.render_widget(self.percentiles(), percentiles);
        frame.render_widget(self.responses(), responses);
        let notes_shown: Vec<Line<'_>> = self.notes.iter().map(|note| Line::from(note.as_str())).collect();
        frame.render_widget(Paragraph::new(notes_shown).block(Block::bordered().title(keys)), notes);
    }

    fn percentiles(&self) -> Table<'static> {
        let latency = &self.last.summary.latency;
        let values = [latency.p50, latency.p90, latency.p99, latency.p999, latency.p9999, latency.max];
        let names = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
        Table::new([Row::new(values.map(duration))], [Constraint::Ratio(1, 6); 6])
            .header(Row::new(names))
            .block(Block::bordered().title(" latency from the scheduled send time "))
    }

    fn responses(&self) -> Table<'static> {
        let now: BTreeMap<String, u64> = endings(&self.last).collect();
        let row = |(what, all): (&String, &u64)| {
            let now = now.get(what).copied().unwrap_or_default();
            let row = Row::new([what.clone(), now.to_string(), all.to_string()]);
            if what == WRONG { row.style(Style::new().red().bold()) } else { row }
        };
        let hits = self.last.cache_hit_ratio.map(|ratio| format!("{:.1} %", ratio * 100.0));
        let hits = hits.map(|hits| Row::new(["cache hits".to_owned(), hits, String::new()]));
        let widths = [Constraint::Length(24), Constraint::Length(14), Constraint::Min(14)];
        Table::new(self.so_far.iter().map(row).chain(hits), widths)
            .header(Row::new(["", "last second", "so far"]))
            .block(Block::bordered().title(" responses "))
    }
}

/// How requests of a second ended, and the wrong responses among them.
fn endings(second: &Second) -> impl Iterator<Item = (String, u64)> {
    let summary = &second.summary;
    let statuses = summary.statuses.iter().map(|(status, count)| (format!("status {status}"), *count));
    let errors = summary.errors.iter().map(|(name, count)| (name.clone(), *count));
    let wrong = (second.wrong > 0).then(|| (WRONG.to_owned(), second.wrong));
    statuses.chain(errors).chain(wrong)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::outcome::{Latency, Summary};

    fn second() -> Box<Second> {
        let latency = Latency { p50: 250.0, p99: 1500.0, p999: 2e6, ..Latency::default() };
        let statuses = [(200, 90), (401, 10)].into();
        let errors = [("reset".to_owned(), 2)].into();
        let summary = Summary { responses: 100, rate: 100.0, latency, statuses, errors, late: 0 };
        Box::new(Second { at: 4.0, summary, wrong: 3, cache_hit_ratio: Some(0.875) })
    }

    #[test]
    fn a_plain_line_has_the_figures_of_its_second() {
        let (sender, updates) = channel();
        let started = Update::Started { scenario: "warm".into(), target: "http://a".into(), seconds: 9 };
        sender.send(started).unwrap();
        sender.send(Update::Second(second())).unwrap();
        drop(sender);
        let mut out = Vec::new();
        plain(&updates, &mut out);
        let text = String::from_utf8(out).unwrap();
        for part in [
            "warm against http://a",
            "   5 s",
            "100/s",
            "250 µs",
            "1.50 ms",
            "2.00 s",
            "200: 90, 401: 10, reset: 2  WRONG: 3",
            "hits 87.5 %",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    /// The lines of the terminal, with single spaces between words.
    fn shown(screen: &Screen) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let cells = terminal.backend().buffer().content();
        let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
        let words = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        cells.chunks(80).map(|cells| words(line(cells))).collect()
    }

    #[test]
    fn the_terminal_shows_rate_percentiles_statuses_errors_and_hits() {
        let mut screen = Screen::default();
        screen.take(Update::Started { scenario: "warm".into(), target: "http://a".into(), seconds: 9 });
        assert!(shown(&screen)[0].contains("warm → http://a warming up"), "{:?}", shown(&screen));
        screen.take(Update::Second(second()));
        screen.take(Update::Second(second()));
        let lines = shown(&screen);
        for part in [
            "warm → http://a 5 / 9 s, 100 per second",
            "p50 p90 p99 p99.9 p99.99 max",
            "1.50 ms",
            "last second so far",
            "status 200 90 180",
            "status 401 10 20",
            "reset 2 4",
            "WRONG ANSWERS 3 6",
            "cache hits 87.5 %",
            "q: stop and report",
        ] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
        }
        screen.ending = true;
        assert!(shown(&screen).iter().any(|line| line.contains("finishing requests in progress")));
    }
}
