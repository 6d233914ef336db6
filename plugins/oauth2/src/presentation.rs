//! How a token may be presented (RFC 6750 §2): the ways that an instance refuses.
//!
//! An instance that accepts all of them has no [`Presentation`], so that its requests pay nothing for this.

use tollgate_core::request::Request;
use tollgate_plugin::bearer::{self, Ways};
use tollgate_plugin::presented::CredentialHeader;

use crate::challenge::Refusal;
use crate::config::Config;
use crate::https::{self, Proxies};
use crate::profile::{MultipleTokens, Permission};

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presentation {
    query: Permission,
    body: Permission,
    plain_http: Permission,
    several: MultipleTokens,
    proxies: Proxies,
}

/// Whether a request may present its token so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may, or it presents none.
    Accepted,
    /// The body has to be read first.
    NeedBody,
    /// It may not. The name is that of the field that decides.
    Refused(Refusal, &'static str),
}

impl Presentation {
    /// `None`: everything is accepted.
    pub fn of(config: &Config) -> Option<Box<Self>> {
        let profile = &config.profile;
        let believes = config.accept_http_if_already_terminated;
        let presentation = Self {
            query: profile.token_in_query,
            body: profile.token_in_body,
            plain_http: profile.bearer_over_http,
            several: profile.multiple_tokens,
            proxies: if believes { Proxies::Believed } else { Proxies::Ignored },
        };
        let is_accepted = |permission| permission == Permission::Permitted;
        let accepts_all = is_accepted(presentation.query)
            && is_accepted(presentation.body)
            && is_accepted(presentation.plain_http)
            && presentation.several == MultipleTokens::First;
        (!accepts_all).then(|| Box::new(presentation))
    }

    /// Decides on a request.
    pub fn judge(&self, header: Option<&CredentialHeader>, request: &Request<'_>) -> Verdict {
        let Some(ways) = bearer::ways(header, request) else { return Verdict::NeedBody };
        let is_refused = |way: bool, permission| way && permission == Permission::Refused;
        if ways.count() > 1 && self.several == MultipleTokens::Refuse {
            Verdict::Refused(Refusal::Several, "multiple_tokens")
        } else if is_refused(ways.query && self.is_used(ways, Way::Query), self.query) {
            Verdict::Refused(Refusal::InQuery, "token_in_query")
        } else if is_refused(ways.body && self.is_used(ways, Way::Body), self.body) {
            Verdict::Refused(Refusal::InBody, "token_in_body")
        } else if is_refused(ways.count() > 0, self.plain_http) && https::arrived(self.proxies, request).is_err() {
            Verdict::Refused(Refusal::PlainHttp, "bearer_over_http")
        } else {
            Verdict::Accepted
        }
    }

    /// Where several are accepted, the first is the one that counts, and what is in other places is the application's.
    fn is_used(&self, ways: Ways, way: Way) -> bool {
        match way {
            Way::Body => !ways.header,
            Way::Query => !ways.header && !ways.body,
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Body,
    Query,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;
    use serde_json::{Value, json};
    use tollgate_core::request::RequestBody;

    use super::*;
    use crate::config::tests::config;
    use crate::endpoint::tests::Post;

    /// What an instance says to a request with these parts.
    fn verdict(config: &Value, header: bool, body: &str, query: &str, tls: bool) -> Verdict {
        let mut post = Post::new("/api", query);
        if header {
            post.headers.insert("authorization", HeaderValue::from_static("Bearer h"));
        }
        post.headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        post.body = RequestBody::Read(Bytes::copy_from_slice(body.as_bytes()));
        let mut request = post.request();
        request.tls = tls;
        let Some(presentation) = Presentation::of(&crate::config::tests::config(config)) else {
            return Verdict::Accepted;
        };
        presentation.judge(CredentialHeader::parse("authorization").as_ref(), &request)
    }

    #[test]
    fn each_way_is_refused_by_a_field_of_its_own_rfc6750_2() {
        let (token, none) = ("access_token=t", "");
        for (header, body, query, tls, field, refusal) in [
            (false, none, token, true, json!({"token_in_query": false}), Refusal::InQuery),
            (false, token, none, true, json!({"token_in_body": false}), Refusal::InBody),
            (true, none, none, false, json!({"bearer_over_http": false}), Refusal::PlainHttp),
            (true, none, token, true, json!({"multiple_tokens": "refuse"}), Refusal::Several),
            (true, token, none, true, json!({"multiple_tokens": "refuse"}), Refusal::Several),
            (false, token, token, true, json!({"multiple_tokens": "refuse"}), Refusal::Several),
        ] {
            let name = field.as_object().unwrap().keys().next().unwrap().clone();
            let of = |config: &Value| verdict(config, header, body, query, tls);
            assert_eq!(of(&json!({})), Verdict::Accepted, "{name}");
            let Verdict::Refused(found, by) = of(&field) else { panic!("{name} refuses nothing") };
            assert_eq!((found, by), (refusal, name.as_str()));
            let Verdict::Refused(found, _) = of(&json!({"profile": "bcp"})) else { panic!("bcp accepts {name}") };
            assert_eq!(found, refusal);
            assert_eq!(verdict(&field, true, none, none, true), Verdict::Accepted, "the header over HTTPS");
        }
    }

    #[test]
    fn an_instance_that_accepts_everything_has_nothing_to_judge() {
        assert_eq!(Presentation::of(&config(&json!({}))), None);
        assert!(Presentation::of(&config(&json!({"profile": "bcp"}))).is_some());
        assert_eq!(Presentation::of(&config(&json!({"profile": "bcp", "log_only": true}))), None);
    }

    #[test]
    fn nothing_is_refused_without_a_token() {
        assert_eq!(verdict(&json!({"profile": "bcp"}), false, "a=1", "b=2", false), Verdict::Accepted);
    }
}
