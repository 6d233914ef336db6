//! What a cached token of a third party takes, and what each forwarded claim adds to it.

use tollgate_load::third_party::FORWARDED;

use crate::error::Result;
use crate::figure::Figure;
use crate::options::Amounts;
use crate::stage::Stage;

/// The name of this part of a run.
pub const MEMORY: &str = "third-party-memory";

/// The parts of the tokens that the figures by claim are measured with.
const PART: usize = 5;

/// Measures it.
pub async fn figures(stage: &mut Stage<'_>, amounts: Amounts) -> Result<Vec<Figure>> {
    let bytes = stage.memory_of_third_party(amounts.tokens, &FORWARDED).await?;
    // The target is for a million: with few tokens, the cache's fixed memory dominates.
    let name =
        if amounts.tokens < 1_000_000 { "bytes-per-third-party-token-of-few" } else { "bytes-per-third-party-token" };
    let about =
        format!("resident bytes per cached introspected token ({} tokens), five claims forwarded", amounts.tokens);
    let mut figures = vec![Figure::new(name, &about, bytes, "bytes")];
    let count = amounts.tokens / PART;
    let mut before = stage.memory_of_third_party(count, &[]).await?;
    let about = format!("the same with {count} tokens, no claims forwarded");
    figures.push(Figure::new("bytes-without-claims", &about, before, "bytes"));
    for (place, claim) in FORWARDED.iter().enumerate() {
        let forwarded = FORWARDED.get(..=place).unwrap_or_default();
        let bytes = stage.memory_of_third_party(count, forwarded).await?;
        figures.push(Figure::new(&format!("bytes-of-{claim}"), &format!("  {claim} adds"), bytes - before, "bytes"));
        before = bytes;
    }
    Ok(figures)
}
