//! What responses say about limits.

use std::borrow::Cow;

use tollgate_plugin::{BlockLine, BlockName, BlockNames, BlockPart, HeaderBlock};

use crate::usage::{Limits, Standing};

const FIXED: usize = 3;

/// The headers of an instance.
#[derive(Debug)]
pub(crate) struct Headers {
    admitted: BlockNames,
    /// With `Retry-After`.
    refused: BlockNames,
    /// `X-RateLimit-Limit-…` of each limit.
    limits: Vec<BlockLine>,
}

/// A period's title makes no header that could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot render the headers of limits")]
pub(crate) struct Unrendered;

impl Headers {
    /// Of these limits.
    pub(crate) fn new(limits: &Limits) -> Result<Self, Unrendered> {
        let parse = |name: String| BlockName::parse(&name).ok_or(Unrendered);
        let mut names = Vec::new();
        for name in ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"] {
            names.push(parse(name.to_owned())?);
        }
        let mut lines = Vec::new();
        for (period, limit) in limits.iter() {
            let title = period.title();
            let name = parse(format!("X-RateLimit-Limit-{title}"))?;
            lines.push(BlockLine::new(&name, limit.to_string().as_bytes()).ok_or(Unrendered)?);
            names.extend([name, parse(format!("X-RateLimit-Remaining-{title}"))?]);
        }
        let admitted = BlockNames::new(names.clone());
        names.push(parse("Retry-After".to_owned())?);
        Ok(Self { admitted, refused: BlockNames::new(names), limits: lines })
    }

    /// What a client hears of its standing.
    pub(crate) fn block(&self, standing: &Standing) -> Option<HeaderBlock> {
        let (closest, admitted) = (standing.closest, standing.admitted);
        let reset = number(closest.reset);
        let fixed = [number(closest.limit), number(closest.remaining), reset.clone()];
        let fixed = fixed.into_iter().enumerate().map(|(at, value)| BlockPart::Value(at, value));
        let of_limits = self.limits.iter().zip(&standing.remaining).enumerate().flat_map(|(at, (line, left))| {
            [BlockPart::Line(line), BlockPart::Value(FIXED + 2 * at + 1, number(*left))]
        });
        let last = FIXED + 2 * self.limits.len();
        let retry = (!admitted).then_some(BlockPart::Value(last, reset));
        let names = if admitted { &self.admitted } else { &self.refused };
        HeaderBlock::of_parts(names, fixed.chain(of_limits).chain(retry))
    }
}

fn number(number: impl itoa::Integer) -> Cow<'static, [u8]> {
    Cow::Owned(itoa::Buffer::new().format(number).as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::period::Period;
    use crate::usage::Used;

    fn text(used: [u64; 6]) -> String {
        let limits = Limits::new(vec![(Period::Minute, 2), (Period::Day, 9)]);
        let standing = Standing::of(&limits, &Used(used), 30);
        let block = Headers::new(&limits).unwrap().block(&standing).unwrap();
        String::from_utf8(block.lines().to_vec()).unwrap()
    }

    #[test]
    fn a_client_hears_every_limit_and_when_the_closest_ends() {
        let expected = "RateLimit-Limit: 2\r\nRateLimit-Remaining: 1\r\nRateLimit-Reset: 30\r\n\
            X-RateLimit-Limit-Minute: 2\r\nX-RateLimit-Remaining-Minute: 1\r\n\
            X-RateLimit-Limit-Day: 9\r\nX-RateLimit-Remaining-Day: 8\r\n";
        assert_eq!(text([0; 6]), expected);
        let expected = "RateLimit-Limit: 2\r\nRateLimit-Remaining: 0\r\nRateLimit-Reset: 30\r\n\
            X-RateLimit-Limit-Minute: 2\r\nX-RateLimit-Remaining-Minute: 0\r\n\
            X-RateLimit-Limit-Day: 9\r\nX-RateLimit-Remaining-Day: 7\r\nRetry-After: 30\r\n";
        assert_eq!(text([0, 2, 0, 2, 0, 0]), expected);
    }
}
