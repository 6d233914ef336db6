//! In how many ways a request authenticates its client (RFC 6749 §2.3).

use tollgate_core::request::Request;

use super::{assertion, basic};
use crate::config::Config;
use crate::error::Refusal;
use crate::parameters::{Parameter, Parameters};
use crate::profile::MultipleAuthentications;

/// Refuses a client that authenticates in more than one way, or names two clients, where the instance does (RFC 6749
/// §2.3). A certificate is the connection's, and may be there for the tokens alone (RFC 8705 §3).
pub fn check_ways(config: &Config, parameters: &Parameters, request: &Request<'_>) -> Result<(), Refusal> {
    if config.profile.multiple_authentications == MultipleAuthentications::First {
        return Ok(());
    }
    let header = config.auth_header.as_ref().and_then(|header| header.value(request));
    let in_header = header.map(basic).unwrap_or_default();
    let has_basic = header.is_some_and(|header| {
        header.trim_ascii_start().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
    });
    let is_asserted = assertion::is_presented(parameters);
    let ways = [
        parameters.get("client_secret").is_some(),
        is_asserted,
        has_basic || !in_header.is_empty() || (is_asserted && header.is_some()),
    ];
    if ways.into_iter().filter(|is_used| *is_used).count() > 1 {
        return Err(Refusal::SeveralCredentials);
    }
    let is_named = |client_id: &Parameter| in_header.iter().any(|claim| client_id.text() == Some(&claim.client_id));
    match parameters.get("client_id") {
        Some(client_id) if !in_header.is_empty() && !is_named(client_id) => Err(Refusal::OtherClient),
        _ => Ok(()),
    }
}

/// Whether a request names a client as the contract knows it: in a header, or by its id and secret. An assertion beside
/// them is a parameter as any other that it does not know.
pub(super) fn names_by_contract(config: &Config, parameters: &Parameters, request: &Request<'_>) -> bool {
    let in_header = config.auth_header.as_ref().and_then(|header| header.value(request)).is_some();
    in_header || (parameters.get("client_secret").is_some() && parameters.get("client_id").is_some())
}
