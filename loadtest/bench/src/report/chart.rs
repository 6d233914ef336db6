//! The rows as bars, each with a line from its minimum to its maximum round.

use maud::html;

use super::{Outcome, Report};

const WIDTH: f64 = 900.0;
const LABELS: f64 = 200.0;
const FIGURES: f64 = 150.0;
const LINE: f64 = 26.0;
const TOP: f64 = 48.0;

/// An SVG document.
pub(super) fn draw(report: &Report) -> String {
    let most = report.rows.iter().map(|row| row.micros.max).fold(1.0, f64::max);
    let scale = (WIDTH - LABELS - FIGURES) / most;
    let height = TOP + LINE * report.rows.len() as f64 + 16.0;
    let title = format!("CPU time of the proxy per request, µs ({}, {})", report.machine.date, report.machine.commit);
    let drawing = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {height}")) font-family="sans-serif"
            font-size="13" role="img" aria-label=(title) {
            rect width="100%" height="100%" fill="#ffffff" {}
            text x="12" y="28" font-size="16" fill="#1d2733" { (title) }
            @for (index, row) in report.rows.iter().enumerate() {
                (bar(row, TOP + LINE * index as f64, scale))
            }
        }
    };
    drawing.into_string()
}

fn bar(row: &Outcome, top: f64, scale: f64) -> maud::Markup {
    let middle = top + LINE / 2.0;
    let at = |micros: f64| format!("{:.1}", LABELS + micros * scale);
    let floor = row.to_floor.map_or_else(String::new, |ratio| format!(" ({:.2})", ratio.median));
    // Peers in grey; Tollgate in colour.
    let peer = ["nginx", "haproxy", "smallest", "other"].iter().any(|name| row.name.starts_with(name));
    let colour = if peer { "#9aa5b1" } else { "#2f6fd6" };
    html! {
        text x=(LABELS - 8.0) y=(middle + 4.0) text-anchor="end" fill="#1d2733" { title { (row.about) } (row.name) }
        rect x=(LABELS) y=(top + 4.0) width=(format!("{:.1}", row.micros.median * scale)) height=(LINE - 8.0) fill=(colour) {}
        line x1=(at(row.micros.min)) x2=(at(row.micros.max)) y1=(middle) y2=(middle) stroke="#1d2733" stroke-width="1.5" {}
        text x=(format!("{:.1}", LABELS + row.micros.max * scale + 6.0)) y=(middle + 4.0) fill="#1d2733" {
            (format!("{:.1}{floor}", row.micros.median))
        }
    }
}
