//! Charts of a run, as SVG for the HTML page.

use plotters::prelude::*;

use super::ReportError;
use crate::outcome::{Latency, Second};

const SIZE: (u32, u32) = (820, 280);
const COLOURS: [RGBColor; 3] = [RGBColor(0, 90, 156), RGBColor(200, 80, 0), RGBColor(120, 40, 140)];

type Series = (&'static str, fn(&Latency) -> f64);
const SERIES: [Series; 3] =
    [("p50", |latency| latency.p50), ("p99", |latency| latency.p99), ("p99.9", |latency| latency.p999)];

/// The percentiles that are drawn, with their CSS colours, for the page's legend.
pub(super) fn legend() -> impl Iterator<Item = (&'static str, String)> {
    let named = SERIES.into_iter().zip(COLOURS);
    named.map(|((name, _), RGBColor(red, green, blue))| (name, format!("rgb({red} {green} {blue})")))
}

/// Responses of each second.
pub(super) fn rate(seconds: &[Second]) -> Result<String, ReportError> {
    let points: Vec<(f64, f64)> = seconds.iter().map(|second| (second.at, second.summary.rate)).collect();
    let highest = highest(points.iter().map(|point| point.1)) * 1.1;
    area(points, (last(seconds), highest), "responses per second", SIZE)
}

/// Requests of each second without a response or with one of status 500 or above; `None` if all were served.
pub(super) fn unserved(seconds: &[Second]) -> Result<Option<String>, ReportError> {
    let points: Vec<(f64, f64)> = seconds.iter().map(|second| (second.at, second.summary.unserved() as f64)).collect();
    let highest = highest(points.iter().map(|point| point.1));
    if highest < 1.0 {
        return Ok(None);
    }
    area(points, (last(seconds), highest * 1.1), "unserved per second", (SIZE.0, SIZE.1 / 2)).map(Some)
}

/// The gateway's cache hit ratio in each second; `None` if unknown.
pub(super) fn hits(seconds: &[Second]) -> Result<Option<String>, ReportError> {
    let told = seconds.iter().filter_map(|second| Some((second.at, second.cache_hit_ratio? * 100.0)));
    let points: Vec<(f64, f64)> = told.collect();
    if points.len() < 2 {
        return Ok(None);
    }
    area(points, (last(seconds), 100.0), "cache hits, %", (SIZE.0, SIZE.1 / 2)).map(Some)
}

/// One value over time; the axes range from 0 to the given maxima.
fn area(points: Vec<(f64, f64)>, largest: (f64, f64), of: &str, size: (u32, u32)) -> Result<String, ReportError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..largest.0, 0.0..largest.1)
            .map_err(drawing)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("seconds").y_desc(of).y_labels(5).light_line_style(TRANSPARENT);
        mesh.x_label_formatter(&short).y_label_formatter(&short);
        mesh.draw().map_err(drawing)?;
        let [colour, ..] = COLOURS;
        chart.draw_series(AreaSeries::new(points, 0.0, colour.mix(0.2)).border_style(colour)).map_err(drawing)?;
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

/// Percentiles of each second, in milliseconds on a scale of powers of ten.
pub(super) fn percentiles(seconds: &[Second]) -> Result<String, ReportError> {
    let with_responses: Vec<&Second> = seconds.iter().filter(|second| second.summary.responses > 0).collect();
    let lowest = with_responses.iter().map(|second| second.summary.latency.p50).fold(f64::INFINITY, f64::min);
    let lowest = if lowest.is_finite() { (lowest / 1000.0).max(0.001) } else { 0.001 };
    let highest = highest(with_responses.iter().map(|second| second.summary.latency.p999 / 1000.0)).max(lowest * 10.0);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..last(seconds), (lowest / 2.0..highest * 2.0).log_scale())
            .map_err(drawing)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("seconds").y_desc("milliseconds").y_labels(5).light_line_style(TRANSPARENT);
        mesh.x_label_formatter(&short).y_label_formatter(&short);
        mesh.draw().map_err(drawing)?;
        for ((_, of), colour) in SERIES.into_iter().zip(COLOURS) {
            let points =
                with_responses.iter().map(|second| (second.at, (of(&second.summary.latency) / 1000.0).max(0.001)));
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2))).map_err(drawing)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

/// Without trailing zeros.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as plotters calls it")]
fn short(value: &f64) -> String {
    // More digits than any axis needs, but few enough to hide rounding errors.
    ((value * 1e6).round() / 1e6).to_string()
}

fn last(seconds: &[Second]) -> f64 {
    seconds.last().map_or(1.0, |second| second.at.max(1.0))
}

fn highest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(1e-3, f64::max)
}

fn drawing(error: impl std::fmt::Display) -> ReportError {
    ReportError::Chart(error.to_string())
}
