//! The outbound HTTP client: calls that plugins make to other servers, such as an authorization server.
//!
//! There is one [`Client`] in the process. A plugin takes a [`Profile`] from it for each thing it calls,
//! says there what is particular (authorities, timeouts, limits), and sends requests through it:
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
//! What holds for every call:
//!
//! - **Request**: an absolute `http` or `https` URL without credentials; a body that is whole. `Host` and
//!   everything that frames a message is the client's to write.
//! - **Response**: whole, as the server sent it. Any status is a response; redirects are not followed, since
//!   what a request carries is meant for one authority; bodies are not decompressed (`Accept-Encoding:
//!   identity` is sent), trailers are dropped.
//! - **Connections** belong to an authority (scheme, host, port) and to the [`Tls`] they were opened with.
//!   HTTP/2 is spoken where TLS negotiates it, otherwise HTTP/1.1 with keep-alive. A connection takes no
//!   new call once it is old, so that DNS changes are followed; all addresses of a host are tried, both
//!   families by turns.
//! - **Bounds** are each authority's own: calls under way, calls that wait, idle connections. A call beyond
//!   them fails at once ([`Error::Overloaded`]); a slow authority slows no other.
//! - **Retry**: once, on a fresh connection, when a connection that had served a call before dies before the
//!   first byte of the response and the request may be repeated ([`Profile::repeatable`]), or when nothing
//!   of the request was sent.
//! - **Time**: [`Profile::connect_timeout`] bounds resolving, connecting and the TLS handshake together,
//!   [`Profile::timeout`] all of a call.
//! - **Secrets**: errors name scheme, host, port and path, never a query, credentials, headers or bodies.
//!   Nothing is logged here: who made the call logs its [`Error`].
//!
//! Calls run on the runtime that the client was made with, wherever they are awaited. So a connection outlives
//! the runtime of the caller that opened it, and callers need no runtime at all. A call whose future
//! is dropped is ended.
//!
//! Metrics, by the plugin that calls: `tollgate_outbound_requests_total` (also by outcome),
//! `tollgate_outbound_request_duration_seconds`, `tollgate_outbound_requests_in_flight`, and
//! `tollgate_outbound_connections_total` (also by protocol).

mod authority;
mod call;
mod client;
mod connection;
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
pub use error::{Class, Error, Part, Phase};
pub use profile::Profile;
pub use tls::{Tls, TlsError};
