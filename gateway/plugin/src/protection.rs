//! A guard as the handler of an instance, and what instances of all authentication plugins can choose.

use http::Method;
use tollgate_core::plugin::{Access, Handler, Needs, Verdict};
use tollgate_core::request::Request;

use crate::authentication::{AuthenticationHandler, Authenticator};

/// Whether a request needs its own credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It does: a request without one is refused before any other check.
    Refused,
    /// It may pass as the anonymous consumer: anything that might be a credential is removed all the same.
    Tolerated,
}

impl Absence {
    /// `anonymous`: the configured consumer of requests without a valid credential.
    pub fn of(anonymous: Option<&str>) -> Self {
        if anonymous.is_some() { Self::Tolerated } else { Self::Refused }
    }
}

/// Whether an `OPTIONS` request needs a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preflight {
    /// It does, like any other request.
    Judged,
    /// It passes without one (`run_on_preflight` is false).
    Passed,
}

/// One configured instance.
pub struct Protection<A> {
    /// Decides on requests.
    pub guard: AuthenticationHandler<A>,
    /// Whether `OPTIONS` requests need a credential.
    pub preflight: Preflight,
}

impl<A: Authenticator> Handler for Protection<A> {
    fn needs(&self) -> Needs {
        self.guard.needs()
    }

    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        if self.preflight == Preflight::Passed && request.method == Method::OPTIONS {
            return Access::Ready(Ok(Verdict::Continue));
        }
        self.guard.access(request)
    }
}
