//! The resources that a token is for (RFC 8707): what a client names in `resource`, of those that the instance serves.
//!
//! 1. §2.1: at the authorization endpoint, a code is bound to the named resources.
//! 2. §2.2: at the token endpoint, the access token is bound to those that the request names, or else to all that the
//!    grant has; a grant without any is bound to those that the request names.
//! 3. A refresh token keeps the grant's: what one access token is narrowed to does not narrow the next.
//!
//! An instance without `resources` does not know the parameter, and ignores it (§2: it is optional).

use std::sync::Arc;

use crate::binding::{Binding, Confirmation};
use crate::config::Config;
use crate::error::Refusal;
use crate::parameters::{Parameter, Parameters};

/// The resources of a new grant, as they are configured.
///
/// # Errors
/// One is unknown, or none is named although one is required.
pub fn requested(config: &Config, parameters: &Parameters) -> Result<Vec<String>, Refusal> {
    let named = named(config, parameters)?;
    if named.is_empty() && config.endpoints.audience_required {
        return Err(Refusal::MissingResource);
    }
    Ok(named)
}

/// What a new grant is bound to, as [`requested`], for whoever may present its tokens.
///
/// # Errors
/// As [`requested`].
pub fn binding(
    config: &Config,
    parameters: &Parameters,
    confirmation: Option<Confirmation>,
) -> Result<Option<Arc<Binding>>, Refusal> {
    Ok(Binding::new(requested(config, parameters)?, confirmation))
}

/// What a token from this grant is bound to, if the request narrows it.
///
/// # Errors
/// The request names a resource that the grant does not have.
pub fn narrowed(
    config: &Config,
    parameters: &Parameters,
    granted: Option<Arc<Binding>>,
) -> Result<Option<Arc<Binding>>, Refusal> {
    let named = named(config, parameters)?;
    let all = granted.as_deref().map(Binding::granted).unwrap_or_default();
    if named.is_empty() {
        if all.is_empty() && config.endpoints.audience_required {
            return Err(Refusal::MissingResource);
        }
        return Ok(granted.as_ref().and_then(|granted| granted.narrowed(all.to_vec())));
    }
    if !all.is_empty() && !named.iter().all(|resource| all.contains(resource)) {
        return Err(Refusal::Resource);
    }
    Ok(match granted {
        Some(granted) => granted.narrowed(named),
        None => Binding::new(named, None),
    })
}

/// The named resources, each once.
fn named(config: &Config, parameters: &Parameters) -> Result<Vec<String>, Refusal> {
    let served = &config.endpoints.resources;
    if served.is_empty() {
        return Ok(Vec::new());
    }
    let mut named = Vec::new();
    for parameter in parameters.resources() {
        let resource = known(served, parameter).ok_or(Refusal::Resource)?;
        if !named.contains(resource) {
            named.push(resource.clone());
        }
    }
    Ok(named)
}

/// A slash at the end makes no difference: libraries add one to a URL without a path.
fn known<'s>(served: &'s [String], parameter: &Parameter) -> Option<&'s String> {
    let wanted = parameter.text()?.trim_end_matches('/');
    served.iter().find(|resource| resource.trim_end_matches('/') == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::tests::config;

    const ONE: &str = "https://api.test/one";
    const TWO: &str = "https://api.test/two/";

    fn asked(resource: &Value) -> Parameters {
        Parameters::of(&json!({"resource": resource}))
    }

    fn bound(audience: &[&str]) -> Option<Arc<Binding>> {
        Binding::new(audience.iter().map(|&resource| resource.to_owned()).collect(), None)
    }

    #[test]
    fn a_grant_has_the_named_resources_of_those_that_are_served_rfc8707_2() {
        let some = config(&json!({"resources": [ONE, TWO]}));
        let required = config(&json!({"resources": [ONE], "audience_required": true}));
        let owned = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        for (config, resource, expected) in [
            (&config(&json!({})), json!("https://any.test"), owned(&[])),
            (&some, json!([]), owned(&[])),
            (&some, json!(ONE), owned(&[ONE])),
            (&some, json!([TWO, ONE, TWO]), owned(&[TWO, ONE])),
            (&some, json!(["https://api.test/one/", "https://api.test/two"]), owned(&[ONE, TWO])),
            (&some, json!("https://api.test/on"), Err(Refusal::Resource)),
            (&some, json!([ONE, "https://other.test"]), Err(Refusal::Resource)),
            (&some, json!(5), Err(Refusal::Resource)),
            (&some, json!(""), Err(Refusal::Resource)),
            (&required, json!([]), Err(Refusal::MissingResource)),
            (&required, json!(ONE), owned(&[ONE])),
        ] {
            assert_eq!(requested(config, &asked(&resource)), expected, "{resource}");
        }
    }

    #[test]
    fn a_token_has_what_the_request_names_of_its_grant_and_the_grant_stays_rfc8707_2_2() {
        let some = config(&json!({"resources": [ONE, TWO]}));
        let narrowed_to = |resource: Value, granted| narrowed(&some, &asked(&resource), granted);
        assert_eq!(narrowed_to(json!([]), None), Ok(None));
        assert_eq!(narrowed_to(json!(ONE), None), Ok(bound(&[ONE])));
        assert_eq!(narrowed_to(json!([]), bound(&[ONE, TWO])), Ok(bound(&[ONE, TWO])));
        assert_eq!(narrowed_to(json!(TWO), bound(&[ONE])), Err(Refusal::Resource));
        let one = narrowed_to(json!(ONE), bound(&[ONE, TWO])).unwrap();
        assert_eq!(one.as_ref().unwrap().audience, [ONE]);
        let two = narrowed_to(json!(TWO), one.clone()).unwrap();
        assert_eq!(two.as_ref().unwrap().audience, [TWO]);
        assert_eq!(narrowed_to(json!([]), two), Ok(bound(&[ONE, TWO])));
        assert_eq!(Binding::parse(one.as_ref().unwrap().text()).unwrap(), one);
    }
}
