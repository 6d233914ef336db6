//! Active health checks: endpoints are probed in intervals, and what comes of it is counted.
//!
//! Probes go to the addresses to which requests go, so no address that is refused is probed. Each has a timeout, and an
//! upstream has at most `concurrency` under way. They end with the upstream. Where connections begin with a PROXY
//! header, theirs says that they are the gateway's own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use pingora::http::RequestHeader;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tollgate_core::host::Authority;

use super::balancer::{Balancer, Settings, Terms};
use super::endpoint::Endpoint;
use super::health::{Observer, Sign};
use super::spec::{Active, CheckType};
use crate::proxy_protocol::{self, Version};
use crate::scheme::{Scheme, host_value};
use crate::upstream::announcement::Announced;

/// The shortest time between two looks at what is due.
const SHORTEST: f64 = 0.05;

/// How long nothing is due if nothing is probed.
const IDLE: Duration = Duration::from_secs(3600);

/// `HealthCheckRequest` without a service, as a message of gRPC.
const GRPC_REQUEST: Bytes = Bytes::from_static(&[0, 0, 0, 0, 0]);

/// `HealthCheckResponse` that says SERVING.
const GRPC_SERVING: &[u8] = &[8, 1];

/// The most of a response that is read.
const MOST: usize = 1024;

/// The connections of probes; made with the first one.
pub(super) struct Prober {
    connector: OnceLock<Connector>,
    /// The PROXY header with which probes begin where requests do.
    header: Option<Vec<u8>>,
}

impl Prober {
    /// With a PROXY header of this version, if there is any.
    pub(super) fn new(version: Option<Version>) -> Self {
        Self { connector: OnceLock::new(), header: version.map(proxy_protocol::write_own) }
    }
}

/// Probes the endpoints of an upstream until it ends.
pub(super) async fn run(balancer: Weak<Balancer>, prober: Arc<Prober>) {
    loop {
        let Some(known) = balancer.upgrade() else { return };
        let changed = Arc::clone(&known.changed);
        let changes = changed.notified();
        let settings = known.settings();
        round(&known, &settings, &prober).await;
        drop(known);
        let (healthy, unhealthy) = settings.intervals;
        let shortest = [healthy, unhealthy].into_iter().filter(|interval| *interval > 0.0).reduce(f64::min);
        // Looks often enough for the shorter interval.
        let pause = shortest.map_or(IDLE, |interval| Duration::from_secs_f64((interval / 4.0).clamp(SHORTEST, 1.0)));
        tokio::select! {
            () = changes => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Probes all endpoints that are due.
async fn round(balancer: &Balancer, settings: &Settings, prober: &Prober) {
    let (healthy, unhealthy) = settings.intervals;
    let active = settings.active();
    let due = balancer.endpoints().into_iter().filter(|endpoint| {
        let interval = if endpoint.is_healthy() { healthy } else { unhealthy };
        let (now, at) = (endpoint.age(), endpoint.next_probe.load(Ordering::Relaxed));
        let is_due = interval > 0.0 && now >= at;
        if is_due {
            let millis = u64::try_from(Duration::from_secs_f64(interval).as_millis()).unwrap_or(u64::MAX);
            endpoint.next_probe.store(now.saturating_add(millis), Ordering::Relaxed);
        }
        is_due
    });
    let concurrency = usize::try_from(active.concurrency.unwrap_or(10)).unwrap_or(10).max(1);
    let terms = balancer.terms();
    let host_header = balancer.host_header();
    let header = prober.header.as_deref().filter(|_| balancer.gets_proxy_headers());
    let probes = due.map(|endpoint| {
        let (active, terms, host_header) = (&active, &terms, host_header.as_deref());
        async move {
            let probe = Probe { endpoint: &endpoint, active, terms, host_header, header };
            let sign = probe.sign(prober).await;
            balancer.observe(&endpoint, Observer::Active, sign);
        }
    });
    stream::iter(probes).buffer_unordered(concurrency).collect::<()>().await;
}

/// One probe.
struct Probe<'p> {
    endpoint: &'p Endpoint,
    active: &'p Active,
    terms: &'p Terms,
    host_header: Option<&'p str>,
    /// The PROXY header with which it begins.
    header: Option<&'p [u8]>,
}

impl Probe<'_> {
    async fn sign(&self, prober: &Prober) -> Sign {
        let seconds = self.active.timeout.unwrap_or(1.0);
        let limit = Duration::from_secs_f64(if seconds > 0.0 { seconds } else { 1.0 });
        match tokio::time::timeout(limit, self.attempt(prober)).await {
            Ok(Ok(sign)) => sign,
            Ok(Err(error)) => sign_of(&error),
            Err(_) => Sign::TimedOut,
        }
    }

    async fn attempt(&self, prober: &Prober) -> Result<Sign, Box<Error>> {
        let kind = self.active.r#type.unwrap_or_default();
        if kind == CheckType::Tcp {
            return Ok(if self.connect().await.is_ok() { Sign::Connected } else { Sign::ConnectionFailed });
        }
        let peer = self.peer(kind);
        let connector = prober.connector.get_or_init(|| Connector::new(None));
        let (mut session, _) = connector.get_http_session(&peer).await?;
        let sign = if kind.is_grpc() { self.call(&mut session).await } else { self.get(&mut session).await };
        session.shutdown().await;
        sign
    }

    async fn connect(&self) -> std::io::Result<()> {
        let mut connection = TcpStream::connect(self.endpoint.address).await?;
        match self.header {
            Some(header) => connection.write_all(header).await,
            None => Ok(()),
        }
    }

    fn peer(&self, kind: CheckType) -> HttpPeer {
        let name = self.active.https_sni.as_deref().or(self.host_header).unwrap_or(&self.endpoint.host);
        // `host_header` may have a port.
        let name = match Authority::parse(name) {
            Ok(authority) => authority.host.as_str().to_owned(),
            Err(_) => name.to_ascii_lowercase(),
        };
        let name = name.trim_matches(['[', ']']).to_owned();
        let mut peer = HttpPeer::new(self.endpoint.address, kind.is_tls(), name);
        let verified = self.active.https_verify_certificate.unwrap_or(true);
        peer.options.verify_cert = verified;
        peer.options.verify_hostname = verified;
        if kind.is_grpc() {
            peer.options.set_http_version(2, 2);
        }
        if let Terms::Certificate(certificate, group) = self.terms {
            peer.client_cert_key = Some(Arc::clone(certificate));
            peer.group_key = *group;
        }
        if let Some(header) = self.header {
            peer.group_key = !peer.group_key;
            peer.options.custom_l4 = Some(Arc::new(Announced { header: header.to_vec(), timeout: None }));
        }
        peer
    }

    async fn get(&self, session: &mut HttpSession) -> Result<Sign, Box<Error>> {
        let path = self.active.http_path.as_deref().unwrap_or("/");
        let mut request = RequestHeader::build("GET", path.as_bytes(), None)?;
        self.set_headers(&mut request)?;
        session.write_request_header(Box::new(request)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().map_or(0, |head| head.status.as_u16());
        Ok(Sign::Status(status))
    }

    /// Calls `Check` of the health service (`grpc.health.v1`). A server without it is alive.
    async fn call(&self, session: &mut HttpSession) -> Result<Sign, Box<Error>> {
        let mut request = RequestHeader::build("POST", b"/grpc.health.v1.Health/Check", None)?;
        self.set_headers(&mut request)?;
        request.insert_header(CONTENT_TYPE, "application/grpc")?;
        request.insert_header(TE, "trailers")?;
        session.write_request_header(Box::new(request)).await?;
        session.write_request_body(GRPC_REQUEST, true).await?;
        session.read_response_header().await?;
        let head = session.response_header();
        let status = head.and_then(|head| head.headers.get("grpc-status")).cloned();
        let http_status = head.map_or(0, |head| head.status.as_u16());
        if http_status != 200 {
            return Ok(Sign::Status(http_status));
        }
        if let Some(status) = status {
            return Ok(grpc_sign(status.as_bytes(), &[]));
        }
        let mut body = Vec::new();
        while let Some(part) = session.read_response_body().await? {
            body.extend_from_slice(&part);
            if body.len() > MOST {
                return Ok(Sign::Status(500));
            }
        }
        // The status is in the trailers; a message that says SERVING stands for it.
        Ok(grpc_sign(b"0", body.get(GRPC_REQUEST.len()..).unwrap_or_default()))
    }

    fn set_headers(&self, request: &mut RequestHeader) -> Result<(), Box<Error>> {
        let scheme = if self.active.r#type.is_some_and(CheckType::is_tls) { Scheme::Https } else { Scheme::Http };
        let own = || host_value(&shown(&self.endpoint.host), self.endpoint.address.port(), scheme);
        if let Some(host) = self.host_header.and_then(|host| host.parse().ok()).or_else(own) {
            request.insert_header(HOST, host)?;
        }
        request.insert_header(USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION"), " (health check)"))?;
        for (name, values) in self.active.headers.iter().flatten() {
            request.remove_header(name.as_str());
            for value in values {
                request.append_header(name.clone(), value)?;
            }
        }
        Ok(())
    }
}

/// A host as in `Host`.
fn shown(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// What a gRPC status means, as a status of HTTP: UNIMPLEMENTED is a server without the service.
fn grpc_sign(status: &[u8], message: &[u8]) -> Sign {
    match (status, message) {
        (b"12", _) => Sign::Status(200),
        (b"0", message) if message == GRPC_SERVING => Sign::Status(200),
        _ => Sign::Status(503),
    }
}

fn sign_of(error: &Error) -> Sign {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => Sign::TimedOut,
        _ => Sign::ConnectionFailed,
    }
}
