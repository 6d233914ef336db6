//! The headers that claims are forwarded in (introspection.md).

use tollgate_plugin::BlockName;

use crate::claim_path::ClaimPath;

/// The registered claims, in the order of their positions: kept of every token, since all are forwarded when present
/// (introspection.md).
pub(crate) const REGISTERED: [&str; 11] =
    ["scope", "client_id", "username", "token_type", "exp", "iat", "nbf", "sub", "aud", "iss", "jti"];

/// The prefix of all headers; identity headers of every plugin that forwards claims.
pub const HEADER_PREFIX: &str = "x-credential-";

/// The headers of the registered claims, in their order.
pub(crate) const REGISTERED_HEADERS: [&str; REGISTERED.len()] = [
    "X-Credential-Scope",
    "X-Credential-Client-ID",
    "X-Credential-Identifier",
    "X-Credential-Token-Type",
    "X-Credential-Exp",
    "X-Credential-Iat",
    "X-Credential-Nbf",
    "X-Credential-Sub",
    "X-Credential-Aud",
    "X-Credential-Iss",
    "X-Credential-Jti",
];

/// The header of a custom claim: `realm_access.roles` is in `X-Credential-Realm-Access-Roles`. Runs of characters
/// other than letters and digits are one dash. `None`: nothing is left of it.
pub(crate) fn header_of(claim: &str) -> Option<String> {
    let words = claim.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = "X-Credential".to_owned();
    let mut count = 0;
    for word in words {
        let (first, rest) = word.split_at_checked(1)?;
        name.extend(["-", &first.to_ascii_uppercase(), rest]);
        count += 1;
    }
    (count > 0).then_some(name)
}

/// Checks that each custom claim has a header of its own.
///
/// # Errors
/// Two claims would be sent in one header, or a claim has none.
pub(crate) fn check_headers(claims: &[&str]) -> Result<(), String> {
    let mut seen: Vec<(String, &str)> =
        REGISTERED_HEADERS.iter().zip(REGISTERED).map(|(header, claim)| (header.to_ascii_lowercase(), claim)).collect();
    for claim in claims {
        if REGISTERED.contains(claim) {
            continue;
        }
        let Some(header) = header_of(claim) else { return Err(format!("'{claim}' gives no header name")) };
        let lower = header.to_ascii_lowercase();
        if let Some((_, other)) = seen.iter().find(|(known, other)| *known == lower && other != claim) {
            return Err(format!("'{claim}' and '{other}' would both be sent as {header}"));
        }
        seen.push((lower, claim));
    }
    Ok(())
}

/// The header of a claim that is kept.
pub(crate) fn block_name(claim: &ClaimPath) -> Option<BlockName> {
    let registered = REGISTERED.iter().zip(REGISTERED_HEADERS).find(|(name, _)| **name == claim.as_str());
    match registered {
        Some((_, header)) => BlockName::parse(header),
        None => BlockName::parse(&header_of(claim.as_str())?),
    }
}
