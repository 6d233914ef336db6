//! How a plugin calls one service.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

use crate::call;
use crate::client::Client;
use crate::error::{Error, Place};
use crate::metrics::PluginMetrics;
use crate::request::{LastTarget, Outgoing};
use crate::tls::Tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer timeouts are reduced to this; an overflowing deadline would mean no timeout.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Enough for any OAuth or OpenID document, key sets included.
const MAX_BODY: usize = 1024 * 1024;

/// How a plugin calls one service: created when an instance is compiled, used for each request. Cheap to
/// clone. Profiles share connections if their [`Tls`] are equal.
#[derive(Clone)]
pub struct Profile {
    pub(crate) client: Client,
    pub(crate) metrics: PluginMetrics,
    pub(crate) tls: Option<Tls>,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) keepalive: Duration,
    pub(crate) max_body: usize,
    pub(crate) repeatable: bool,
    pub(crate) stays: bool,
    last: LastTarget,
}

impl Profile {
    pub(crate) fn new(client: Client, metrics: PluginMetrics) -> Self {
        let keepalive = client.limits().idle_timeout;
        Self {
            client,
            metrics,
            keepalive,
            tls: None,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            max_body: MAX_BODY,
            repeatable: false,
            stays: false,
            last: LastTarget::default(),
        }
    }

    /// Which certificates are accepted; default [`Tls::system`]. Has no effect on `http` URLs.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The timeout for name resolution, TCP and TLS together, for each connection; default 2 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.min(LONGEST);
        self
    }

    /// The timeout for the whole call, from [`Profile::send`] to the end of the response; default 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST);
        self
    }

    /// How long connections are kept open after a call of this profile, unless another call uses them; default
    /// 30 s. At most two minutes in all, so that DNS changes are followed.
    #[must_use]
    pub fn keepalive(mut self, idle: Duration) -> Self {
        self.keepalive = idle;
        self
    }

    /// The maximum size of a response body as sent, in bytes; default 1 MiB.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Declares that requests may be received twice, whatever their method, so they are sent again if a
    /// reused connection breaks. Token introspection is an example, although it is a POST. By default only
    /// idempotent methods are retried.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Declares that calls are awaited on threads that last as long as the process, each with a runtime of its own that
    /// has I/O and time, as the gateway's proxy does: a call then stays on its thread, and so does its connection. Two
    /// threads that wake each other cost more than the rest of a call. By default, and when awaited elsewhere, calls run
    /// on the client's runtime.
    #[must_use]
    pub fn staying(mut self) -> Self {
        self.stays = true;
        self
    }

    /// Sends a request with an absolute URL and receives the whole response, whatever its status. May be
    /// awaited anywhere; dropping the future cancels the call.
    ///
    /// # Errors
    /// There is no complete response; [`Error::class`] says what to do about it.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let under_way = self.metrics.started();
        let result = match Outgoing::new(request, &self.last) {
            Ok(request) => self.call(request).await,
            Err(error) => Err(error),
        };
        under_way.ended(&result);
        result
    }

    async fn call(&self, request: Outgoing) -> Result<Response<Bytes>, Error> {
        if self.stays && Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::CurrentThread) {
            return call::run(self, request).await;
        }
        let place = Place::clone(&request.target.place);
        let profile = self.clone();
        let running = self.client.runtime().spawn(async move { call::run(&profile, request).await });
        let mut running = Running(running);
        match (&mut running.0).await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(Error::Stopped { place }),
        }
    }
}

/// A call, which is cancelled if nobody waits for it.
struct Running(JoinHandle<Result<Response<Bytes>, Error>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
