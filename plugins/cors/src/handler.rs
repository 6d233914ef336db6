//! One configured instance.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tollgate_plugin::{Access, Body, Handler, HeaderEdit, Reply, Request, Verdict};

use crate::config::{Config, Credentials, Preflight, PrivateNetwork, WithoutOrigin};
use crate::origin::Allowed;

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");

pub(crate) struct CrossOrigin(pub(crate) Config);

impl Handler for CrossOrigin {
    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        Access::Ready(Ok(self.decide(request)))
    }
}

impl CrossOrigin {
    fn decide(&self, request: &mut Request<'_>) -> Verdict {
        let origin = request.headers.get(ORIGIN);
        if let Some(origin) = origin.filter(|_| is_preflight(request)) {
            return match self.0.preflight {
                Preflight::Upstream => Verdict::Continue,
                Preflight::Gateway => Verdict::Reply(self.preflight(origin, request)),
            };
        }
        if origin.is_some() || self.0.without_origin == WithoutOrigin::Answered {
            let edits = self.common(origin);
            request.response.extend(edits);
            if let Some(exposed) = &self.0.exposed_headers {
                request.response.push(HeaderEdit::Set(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone()));
            }
        }
        Verdict::Continue
    }

    /// The headers of every response.
    fn common(&self, origin: Option<&HeaderValue>) -> Vec<HeaderEdit> {
        let allowed = self.0.origins.allowed(origin.and_then(|origin| origin.to_str().ok()));
        let mut edits = Vec::with_capacity(3);
        let mut vary = self.0.origins.vary();
        match (allowed, self.0.credentials, origin) {
            // Browsers reject `*` together with credentials.
            (Allowed::All, Credentials::Allowed, Some(origin)) => {
                vary = true;
                edits.push(HeaderEdit::Set(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
                edits.push(HeaderEdit::Set(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE));
            }
            (Allowed::All, ..) => {
                edits.push(HeaderEdit::Set(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")));
            }
            (Allowed::Origin(origin), credentials, _) => {
                edits.push(HeaderEdit::Set(ACCESS_CONTROL_ALLOW_ORIGIN, origin));
                if credentials == Credentials::Allowed {
                    edits.push(HeaderEdit::Set(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE));
                }
            }
            // Overrides an upstream that allows it.
            (Allowed::None, ..) => edits.push(HeaderEdit::Remove(ACCESS_CONTROL_ALLOW_ORIGIN)),
        }
        if vary {
            edits.push(HeaderEdit::Append(VARY, HeaderValue::from_static("Origin")));
        }
        edits
    }

    fn preflight(&self, origin: &HeaderValue, request: &Request<'_>) -> Reply {
        let mut headers = Vec::with_capacity(7);
        for edit in self.common(Some(origin)) {
            if let HeaderEdit::Set(name, value) | HeaderEdit::Append(name, value) = edit {
                headers.push((name, value));
            }
        }
        let asked = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(allowed) = self.0.headers.as_ref().or(asked) {
            headers.push((ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone()));
        }
        headers.push((ACCESS_CONTROL_ALLOW_METHODS, self.0.methods.clone()));
        headers.extend(self.0.max_age.clone().map(|seconds| (ACCESS_CONTROL_MAX_AGE, seconds)));
        let private = request.headers.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true");
        if private && self.0.private_network == PrivateNetwork::Allowed {
            headers.push((ALLOW_PRIVATE_NETWORK, TRUE));
        }
        Reply { status: StatusCode::OK, headers, body: Body::Empty, reason: "cors_preflight" }
    }
}

fn is_preflight(request: &Request<'_>) -> bool {
    request.method == Method::OPTIONS && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
