//! The outbound HTTP client: calls that plugins make to other servers, such as an authorization server.
//!
//! There is one [`Client`] per process. A plugin takes a [`Profile`] from it for each service it calls,
//! configures it (authorities, timeouts, limits), and sends requests through it:
//!
//! ```no_run
//! # async fn call(client: tollgate_http_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use tollgate_http_client::{Class, Tls};
//!
//! let issuer = client
//!     .profile("introspection")
//!     .tls(Tls::authorities(&std::fs::read("/etc/tollgate/issuer-ca.pem")?)?)
//!     .timeout(Duration::from_secs(3))
//!     .max_body(64 * 1024)
//!     .repeatable();
//! let request = http::Request::post("https://issuer.example/introspect").body(Bytes::from("token=…"))?;
//! match issuer.send(request).await {
//!     Ok(response) => println!("{} with {} bytes", response.status(), response.body().len()),
//!     Err(error) if error.class() == Class::Unavailable => println!("try again later: {error}"),
//!     Err(error) => println!("cannot tell: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Rules for every call:
//!
//! - **Request**: an absolute `http` or `https` URL without credentials; a complete body. The client writes
//!   `Host` and all headers that frame a message.
//! - **Response**: complete, as the server sent it. Any status is a response; redirects are not followed,
//!   since a request's contents are meant for one authority; bodies are not decompressed (`Accept-Encoding:
//!   identity` is sent), trailers are dropped.
//! - **Connections** belong to an authority (scheme, host, port) and to the [`Tls`] with which they were
//!   opened. HTTP/2 is used where TLS negotiates it, otherwise HTTP/1.1 with keep-alive
//!   ([`Profile::keepalive`]). An old connection takes no new calls, so that DNS changes are followed; all
//!   addresses of a host are tried, alternating between families.
//! - **Addresses** that no authority has are refused ([`Error::Refused`]): link-local ones, metadata services of
//!   clouds, this gateway's own listeners ([`Destinations`]). What is checked is the address to which a connection
//!   is opened, for literal hosts and after name resolution, so names whose addresses change lead nowhere else.
//!   [`Client::refuses_literal`] finds such URLs when a configuration is written.
//! - **Limits** apply per authority: calls in flight, waiting calls, idle connections. A call beyond them
//!   fails at once ([`Error::Overloaded`]); a slow authority does not slow down others.
//! - **Breaker**: one for each authority, whichever profile calls it. It opens after 5 failed calls in a row, or
//!   if, of at least 20 calls within 10 s, half failed, or nine of ten failed or took more than half of their
//!   timeout. Calls then fail at once ([`Error::Open`], which says when to retry). After a second, or longer if
//!   it opened before, one call at a time passes; a response closes the breaker. Failures are calls without a
//!   complete response: no address or connection, a timeout, a broken response. A response of any status is none,
//!   since it may depend on the one request, and whoever can send requests must not be able to cut off everybody
//!   else; nor are a certificate that a profile does not accept, and calls shed by the limits.
//! - **Retry**: once, on another connection, if a reused connection breaks before the first byte of the
//!   response and the request may be repeated ([`Profile::repeatable`]), or if nothing of the request was
//!   sent, or if an HTTP/2 server says that it has not processed it (GOAWAY, REFUSED_STREAM).
//! - **Timeouts**: [`Profile::connect_timeout`] limits name resolution, connecting and the TLS handshake
//!   together, [`Profile::timeout`] the whole call.
//! - **Secrets**: errors contain scheme, host, port and path, never a query, credentials, headers or bodies.
//!   The caller logs the [`Error`]; what is logged here is that a breaker opened (a warning) or closed.
//!
//! Calls run on the runtime with which the client was created, wherever they are awaited. So a connection
//! outlives the runtime of the caller that opened it, and callers need no runtime at all. Dropping the future
//! of a call cancels it.
//!
//! Metrics, labelled with the calling plugin: `tollgate_outbound_requests_total` (also by outcome),
//! `tollgate_outbound_request_duration_seconds`, `tollgate_outbound_requests_in_flight`, and
//! `tollgate_outbound_connections_total` (also by protocol). Labelled with the authority:
//! `tollgate_outbound_breaker_state`.

mod authority;
mod breaker;
mod call;
mod client;
mod connection;
mod destination;
mod dial;
mod error;
mod limits;
mod metrics;
mod pool;
mod profile;
mod request;
mod resolver;
mod tls;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use destination::{Destinations, Purpose, Refusal, Refused};
pub use error::{Class, Error, Part, Phase};
pub use profile::Profile;
pub use tls::{Tls, TlsError};
