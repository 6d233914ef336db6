//! Targets for the figures.

use serde::Serialize;

use crate::figure::Figure;
use crate::measurement::Measurement;
use crate::sample::Spread;

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// CPU per request of one row, relative to another.
    Ratio(&'static str, &'static str),
    /// What CPU per request of one row exceeds that of another by, relative to a third.
    Excess(&'static str, &'static str, &'static str),
    /// A figure.
    Figure(&'static str),
}

/// The permitted range.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Target {
    what: &'static str,
    measure: Measure,
    bound: Bound,
}

const fn at_most(what: &'static str, measure: Measure, bound: f64) -> Target {
    Target { what, measure, bound: Bound::AtMost(bound) }
}

const fn at_least(what: &'static str, measure: Measure, bound: f64) -> Target {
    Target { what, measure, bound: Bound::AtLeast(bound) }
}

use Measure::{Excess, Figure as Number, Ratio};

const TARGETS: [Target; 33] = [
    at_most("no plugin ÷ the smallest pingora-proxy", Ratio("plain", "smallest"), 1.08),
    at_most("oauth2, one warm token ÷ no plugin", Ratio("oauth2", "plain"), 1.08),
    at_most("rate-limiting, local ÷ no plugin", Ratio("rate-limited", "plain"), 1.05),
    at_most("oauth2, cached tokens by Zipf's law ÷ one token", Ratio("oauth2-zipf", "oauth2"), 1.10),
    at_most(
        "oauth2 with the access log ÷ without (metrics are always counted)",
        Ratio("oauth2-logged", "oauth2"),
        1.08,
    ),
    at_most("oauth2, one warm token ÷ nginx proxy_pass", Ratio("oauth2", "nginx"), 2.0),
    at_most("oauth2, one warm token ÷ nginx auth_request with cache", Ratio("oauth2", "nginx-token-cache"), 1.0),
    at_most("resident bytes per cached token, in total", Number("bytes-per-token"), 420.0),
    at_most("forged token ÷ warm token", Ratio("forged", "oauth2"), 0.7),
    at_most("store look-ups for forged tokens", Number("forged-store-calls"), 0.0),
    at_least("look-ups per second on PostgreSQL, 256 callers ÷ pgbench", Number("look-up-by-pgbench"), 2.0),
    at_least("tokens issued per second, durable, 256 callers ÷ pgbench", Number("issue-by-pgbench"), 1.5),
    at_most("introspection of a warm token ÷ oauth2, one warm token", Ratio("introspect", "oauth2"), 1.0),
    at_most("issuing, secret in clear text ÷ oauth2, one warm token", Ratio("issue", "oauth2"), 4.0),
    at_most("issuing, hashed secret ÷ oauth2, one warm token", Ratio("issue-hashed", "oauth2"), 4.0),
    at_most("time of a look-up at 10,000,000 rows ÷ at 10,000", Number("look-up-growth"), 1.3),
    at_most("CPU of the gateway for a look-up at 10,000,000 rows ÷ at 10,000", Number("look-up-growth-micros"), 1.3),
    at_most("10,000 routes, 1,000 services, 10,000 consumers ÷ 10 of each", Ratio("many", "few"), 1.1),
    at_most("introspected token, cached ÷ own warm token", Ratio("introspected", "oauth2"), 1.05),
    at_most("JWT, RS256, cached ÷ own warm token", Ratio("jwt-rs256", "oauth2"), 1.05),
    at_most("JWT, ES256, cached ÷ own warm token", Ratio("jwt-es256", "oauth2"), 1.05),
    at_most("JWT, EdDSA, cached ÷ own warm token", Ratio("jwt-eddsa", "oauth2"), 1.05),
    at_most(
        "JWT, RS256, not cached: what it adds to an own warm token ÷ the signature check alone",
        Excess("jwt-rs256-new", "oauth2", "check-rs256"),
        1.3,
    ),
    at_most("the same, ES256", Excess("jwt-es256-new", "oauth2", "check-es256"), 1.3),
    at_most("the same, EdDSA", Excess("jwt-eddsa-new", "oauth2", "check-eddsa"), 1.3),
    at_most("introspection of a token that is not cached ÷ no plugin", Ratio("introspection", "plain"), 2.5),
    at_most("calls for one unknown token in 10,000 requests at once", Number("calls-for-unknown"), 1.0),
    at_most(
        "introspected token, cached ÷ nginx auth_request with cache",
        Ratio("introspected", "nginx-introspection"),
        1.0,
    ),
    at_most("introspected token, cached ÷ HAProxy jwt_verify (RS256)", Ratio("introspected", "haproxy-jwt"), 1.0),
    at_most("JWT, RS256, cached ÷ HAProxy jwt_verify (RS256)", Ratio("jwt-rs256", "haproxy-jwt"), 1.0),
    at_most(
        "resident bytes per cached introspected token, five claims forwarded",
        Number("bytes-per-third-party-token"),
        500.0,
    ),
    at_most("TLS handshake with 10,000 certificates ÷ with 10", Number("handshake-growth"), 1.1),
    at_most("start with 10,000,000 tokens in the store ÷ with 10,000", Number("start-growth"), 1.2),
];

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is met.
    Met,
    /// It is not met.
    NotMet,
    /// This run did not measure it.
    NotMeasured,
}

/// A target with its measured value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Its subject.
    pub what: &'static str,
    /// The measured value.
    pub measured: Option<Spread>,
    /// The permitted range.
    pub target: String,
    /// Whether it is met.
    pub verdict: Verdict,
}

/// Judges all targets.
pub fn judge(measurement: &Measurement, figures: &[Figure]) -> Vec<Judged> {
    TARGETS.iter().map(|target| judge_one(target, measurement, figures)).collect()
}

fn judge_one(target: &Target, measurement: &Measurement, figures: &[Figure]) -> Judged {
    let measured = match target.measure {
        Ratio(row, peer) => {
            measurement.of(row).zip(measurement.of(peer)).and_then(|(row, peer)| Spread::of_ratios(row, peer))
        }
        Excess(row, base, unit) => {
            let (row, base, unit) = (measurement.of(row), measurement.of(base), measurement.of(unit));
            row.zip(base).zip(unit).and_then(|((row, base), unit)| Spread::of_excess(row, base, unit))
        }
        Number(name) => {
            let figure = figures.iter().find(|figure| figure.name == name);
            figure.and_then(|figure| Spread::of([figure.value]))
        }
    };
    let (text, reached) = match target.bound {
        Bound::AtMost(bound) => (format!("≤ {bound}"), measured.map(|measured| measured.median <= bound)),
        Bound::AtLeast(bound) => (format!("≥ {bound}"), measured.map(|measured| measured.median >= bound)),
    };
    let verdict = match reached {
        Some(true) => Verdict::Met,
        Some(false) => Verdict::NotMet,
        None => Verdict::NotMeasured,
    };
    Judged { what: target.what, measured, target: text, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::find;
    use crate::sample::Sample;

    #[test]
    fn every_ratio_names_existing_rows() {
        for target in &TARGETS {
            let named = match target.measure {
                Ratio(row, peer) => vec![row, peer],
                Excess(row, base, unit) => vec![row, base, unit],
                Number(_) => Vec::new(),
            };
            assert!(named.into_iter().all(|name| find(name).is_some()), "{}", target.what);
        }
    }

    #[test]
    fn a_target_is_met_by_the_median_of_the_ratios() {
        let sample = |micros| Some(Sample { micros, requests: 1, rate: 1.0, instructions: None, p50: None, p99: None });
        let measurement = Measurement {
            samples: vec![
                (find("smallest").unwrap(), vec![sample(10.0), sample(20.0), sample(10.0)]),
                (find("plain").unwrap(), vec![sample(10.5), sample(21.0), sample(15.0)]),
            ],
            failures: Vec::new(),
        };
        let judged = judge(&measurement, &[Figure::new("bytes-per-token", "", 421.0, "bytes")]);
        let verdicts: Vec<_> = judged.iter().map(|judged| judged.verdict).collect();
        assert_eq!(verdicts.first(), Some(&Verdict::Met));
        assert_eq!(verdicts.get(1), Some(&Verdict::NotMeasured));
        let missed: Vec<_> = judged.iter().filter(|judged| judged.verdict == Verdict::NotMet).collect();
        assert_eq!(
            missed.iter().map(|judged| judged.what).collect::<Vec<_>>(),
            ["resident bytes per cached token, in total"]
        );
    }
}
