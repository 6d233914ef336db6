//! HTTPS check: whether a request came over HTTPS, to us or to a trusted peer (oauth2.md §3.3).

use tollgate_core::request::Request;

use crate::config::Config;
use crate::error::Refusal;

const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Refuses plain HTTP. `X-Forwarded-Proto` is used only from a trusted peer, and only if the instance
/// accepts it.
pub fn require(config: &Config, request: &Request<'_>) -> Result<(), Refusal> {
    arrived(if config.accept_http_if_already_terminated { Proxies::Believed } else { Proxies::Ignored }, request)
}

/// Whether `X-Forwarded-Proto` of a trusted peer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxies {
    /// It does (`accept_http_if_already_terminated`).
    Believed,
    /// Only the connection counts.
    Ignored,
}

/// Refuses a request that came over plain HTTP.
pub fn arrived(proxies: Proxies, request: &Request<'_>) -> Result<(), Refusal> {
    if request.tls {
        return Ok(());
    }
    if proxies == Proxies::Ignored || !request.peer_trusted {
        return Err(Refusal::PlainHttp);
    }
    let mut words = request.headers.get_all(FORWARDED_PROTO).iter();
    match (words.next(), words.next()) {
        (Some(word), None) if word.as_bytes().contains(&b',') => Err(Refusal::SeveralForwardedProtos),
        (Some(word), None) if word.as_bytes().eq_ignore_ascii_case(b"https") => Ok(()),
        (_, Some(_)) => Err(Refusal::SeveralForwardedProtos),
        (_, None) => Err(Refusal::PlainHttp),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::config::tests::config;
    use crate::endpoint::tests::Post;

    #[test]
    fn https_is_required_as_the_table_says() {
        let several = Err(Refusal::SeveralForwardedProtos);
        let plain = Err(Refusal::PlainHttp);
        for (tls, accept, trusted, forwarded, expected) in [
            (true, false, false, &[][..], Ok(())),
            (true, true, true, &["http"], Ok(())),
            (false, false, true, &["https"], plain.clone()),
            (false, true, false, &["https"], plain.clone()),
            (false, true, true, &["https"], Ok(())),
            (false, true, true, &["HTTPS"], Ok(())),
            (false, true, true, &[], plain.clone()),
            (false, true, true, &["http"], plain.clone()),
            (false, true, true, &["https, http"], several.clone()),
            (false, true, true, &["https", "https"], several.clone()),
        ] {
            let config = config(&json!({"accept_http_if_already_terminated": accept}));
            let mut post = Post::new("/oauth2/token", "");
            for word in forwarded {
                post.headers.append(FORWARDED_PROTO, HeaderValue::from_static(word));
            }
            let mut request = post.request();
            request.tls = tls;
            request.peer_trusted = trusted;
            assert_eq!(require(&config, &request), expected, "{tls} {accept} {trusted} {forwarded:?}");
        }
    }
}
