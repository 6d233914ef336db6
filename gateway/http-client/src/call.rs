//! One call: admission, a connection, the exchange, and a retry where that is safe.

use std::io;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use crate::authority::{Authority, Scheme};
use crate::connection::{Lease, Protocol};
use crate::dial;
use crate::error::{Error, Part, Phase, Place};
use crate::limits::MAX_HEAD;
use crate::pool::{Caller, Pool};
use crate::profile::Profile;
use crate::request::Outgoing;
use crate::tls::Tls;

/// Why an attempt has no response, and whether to retry.
struct Failed {
    error: Error,
    again: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, again: false }
    }
}

/// Runs a call to its end.
pub(crate) async fn run(profile: &Profile, request: Outgoing) -> Result<Response<Bytes>, Error> {
    let began = Instant::now();
    let deadline = began + profile.timeout;
    let place = || Place::clone(&request.target.place);
    let limits = *profile.client.limits();
    let authority = profile.client.authority(&request.target.origin);
    let authority =
        authority.ok_or_else(|| Error::TooManyAuthorities { place: place(), authorities: limits.authorities })?;
    let open = |retry_after| Error::Open { place: place(), retry_after };
    authority.breaker.refusal().map_or(Ok(()), |retry_after| Err(open(retry_after)))?;
    let tls = tls(profile, &request)?;
    let admitted = timeout_at(deadline, authority.admit()).await;
    let admitted = admitted.map_err(|_| Error::Timeout { place: place(), phase: Phase::Queue, after: profile.timeout });
    let _admitted =
        admitted?.ok_or_else(|| Error::Overloaded { place: place(), calls: limits.calls, waiting: limits.queue })?;
    // While this call waited, others may have found that the server fails.
    let passage = authority.breaker.enter(began, profile.timeout).map_err(open)?;
    let pool = authority.pool(tls.as_ref());
    let result = Call { profile, request: &request, pool: &pool, deadline }.attempts(&authority).await;
    passage.ended(&result);
    result
}

fn tls(profile: &Profile, request: &Outgoing) -> Result<Option<Tls>, Error> {
    match (request.target.origin.scheme, &profile.tls) {
        (Scheme::Http, _) => Ok(None),
        (Scheme::Https, Some(tls)) => Ok(Some(tls.clone())),
        (Scheme::Https, None) => {
            let failed = |error: crate::TlsError| Error::Tls {
                place: Place::clone(&request.target.place),
                reason: error.to_string(),
            };
            Tls::system().map(Some).map_err(failed)
        }
    }
}

/// The state shared by the attempts of a call.
struct Call<'a> {
    profile: &'a Profile,
    request: &'a Outgoing,
    pool: &'a Pool,
    deadline: Instant,
}

impl Call<'_> {
    fn place(&self) -> Place {
        Place::clone(&self.request.target.place)
    }

    /// One attempt, and a second where that is safe.
    async fn attempts(&self, authority: &Authority) -> Result<Response<Bytes>, Error> {
        let caller =
            Caller { resolver: &authority.resolver, metrics: &self.profile.metrics, keepalive: self.profile.keepalive };
        let lease = self.connected(self.pool.lease(&caller)).await?;
        match self.attempt(lease).await {
            Err(Failed { again: true, .. }) => {
                let lease = self.connected(self.pool.lease_again(&caller)).await?;
                self.attempt(lease).await.map_err(|failed| failed.error)
            }
            ended => ended.map_err(|failed| failed.error),
        }
    }

    async fn connected(&self, lease: impl Future<Output = Result<Lease, dial::Failure>>) -> Result<Lease, Error> {
        let (by_connect, place) = (Instant::now() + self.profile.connect_timeout, self.place());
        let after = if by_connect < self.deadline { self.profile.connect_timeout } else { self.profile.timeout };
        match timeout_at(by_connect.min(self.deadline), lease).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(dial::Failure::Resolve(source))) => Err(Error::Resolve { place, source }),
            Ok(Err(dial::Failure::Refused(refused))) => Err(Error::Refused { place, refused }),
            Ok(Err(dial::Failure::Connect(source))) => Err(Error::Connect { place, source }),
            Ok(Err(dial::Failure::Tls(reason))) => Err(Error::Tls { place, reason }),
            Err(_) => Err(Error::Timeout { place, phase: Phase::Connect, after }),
        }
    }

    async fn attempt(&self, mut lease: Lease) -> Result<Response<Bytes>, Failed> {
        let exchange = timeout_at(self.deadline, self.exchange(&mut lease)).await;
        let Ok(result) = exchange else {
            // Over HTTP/2 the next call would wait on it as well.
            lease.retire();
            let timeout = Error::Timeout { place: self.place(), phase: Phase::Response, after: self.profile.timeout };
            return Err(timeout.into());
        };
        let response = result?;
        self.pool.put_back(lease).await;
        Ok(response)
    }

    async fn exchange(&self, lease: &mut Lease) -> Result<Response<Bytes>, Failed> {
        let message = self.request.message(lease.protocol())?;
        let response = match lease.send(message).await {
            Ok(response) => response,
            Err(failed) => {
                let unsent = failed.message().is_some();
                return Err(self.without_head(lease, failed.into_error(), unsent));
            }
        };
        let (head, body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Upgrade { place: self.place() }.into());
        }
        Ok(Response::from_parts(head, self.body(body).await?))
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, Error> {
        let limit = self.profile.max_body;
        let too_large = || Error::TooLarge { place: self.place(), part: Part::Body, limit };
        if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        match Limited::new(body, limit).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => self.broken(Part::Body, *error),
                Err(_) => too_large(),
            }),
        }
    }

    /// The result of an attempt that ended before the head of the response.
    fn without_head(&self, lease: &Lease, error: hyper::Error, unsent: bool) -> Failed {
        let unprocessed = unsent || h2_error(&error).is_some_and(is_unprocessed);
        let stream_alone = h2_error(&error).is_some_and(h2::Error::is_reset);
        if !stream_alone {
            lease.retire();
        }
        let silent = match lease.protocol() {
            Protocol::Http1 => lease.has_received_nothing(),
            // The head has not arrived; received bytes cannot be attributed to a call.
            Protocol::Http2 => !stream_alone,
        };
        let repeatable = self.profile.repeatable || self.request.is_idempotent();
        let error = self.broken(Part::Head, error);
        let died = silent && matches!(error, Error::Lost { .. });
        // A new connection that dies says that the server fails; a reused one may have been closed while idle.
        Failed { error, again: unprocessed || (died && repeatable && lease.is_reused()) }
    }

    fn broken(&self, part: Part, source: hyper::Error) -> Error {
        let place = self.place();
        if source.is_parse_too_large() {
            return Error::TooLarge { place, part, limit: MAX_HEAD };
        }
        let malformed_body = cause::<io::Error>(&source)
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
        // A stream reset, or a peer that violates the protocol; not one that goes away.
        let malformed_h2 = h2_error(&source).is_some_and(|error| error.is_reset() || error.is_library());
        if source.is_parse() || malformed_body || malformed_h2 {
            return Error::InvalidResponse { place, part, source };
        }
        Error::Lost { place, part, source }
    }
}

/// Whether the server says that it has not processed the request (RFC 9113 §8.7): it refused the stream, or it
/// goes away and does not count the stream among those that it has received. (With an error code it may mean
/// any.)
fn is_unprocessed(error: &h2::Error) -> bool {
    let goes_away = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    goes_away || error.reason() == Some(h2::Reason::REFUSED_STREAM)
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    cause(error)
}

/// The cause of this type, at any depth.
fn cause<T: std::error::Error + 'static>(error: &hyper::Error) -> Option<&T> {
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(found) = source.downcast_ref() {
            return Some(found);
        }
        next = source.source();
    }
    None
}
