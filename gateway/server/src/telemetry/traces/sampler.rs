//! Which requests are traced.

use crate::telemetry::trace_context::Parent;

/// A share of all traces, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl std::str::FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or_else(|| "expected a number from 0 to 1, such as 0.01".to_owned())
    }
}

/// Decides by the parent, or else by the id of the trace, so that all nodes decide alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampler {
    pub(super) ratio: Ratio,
    pub(super) follows_parent: bool,
}

impl Sampler {
    /// `id`: that of a trace that begins here.
    pub(super) fn decide(&self, parent: Option<&Parent<'_>>, id: &str) -> bool {
        match parent {
            Some(parent) if self.follows_parent => parent.is_sampled,
            Some(parent) => self.is_within(parent.trace_id),
            None => self.is_within(id),
        }
    }

    /// The last 56 bits of an id are random (W3C Trace Context level 2, §2.2). The first 53 of them are an exact number.
    #[expect(clippy::cast_precision_loss, reason = "53 bits lose nothing")]
    fn is_within(&self, id: &str) -> bool {
        const ALL: f64 = (1_u64 << 53) as f64;
        let random = id.get(18..).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        random.is_some_and(|random| ((random >> 3) as f64) < self.ratio.0 * ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(ratio: &str, follows_parent: bool) -> Sampler {
        Sampler { ratio: ratio.parse().unwrap(), follows_parent }
    }

    #[test]
    fn a_parent_decides_if_it_is_followed() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for is_sampled in [true, false] {
            let parent = Parent { trace_id: id, span_id: "b7ad6b7169203331", is_sampled };
            assert_eq!(sampler("0", true).decide(Some(&parent), id), is_sampled);
            assert_eq!(sampler("1", true).decide(Some(&parent), id), is_sampled);
            assert!(!sampler("0", false).decide(Some(&parent), id));
            assert!(sampler("1", false).decide(Some(&parent), id));
        }
    }

    #[test]
    fn otherwise_so_many_of_all_traces_are_sampled() {
        let quarter = sampler("0.25", true);
        let ids = (0..=255_u8).map(|byte| format!("{:032x}", u128::from(byte) << 48));
        assert_eq!(ids.filter(|id| quarter.decide(None, id)).count(), 64);
        assert!(sampler("1", true).decide(None, &"f".repeat(32)));
        assert!(!sampler("0", true).decide(None, &"0".repeat(32)));
    }

    #[test]
    fn a_ratio_is_a_share() {
        for bad in ["", "x", "-0.1", "1.1", "NaN"] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }
}
