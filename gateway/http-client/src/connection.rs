//! One connection, over any protocol.
//!
//! Hyper drives it in its own task, which ends with the connection, or when nothing can send on it any more.
//! Received bytes are counted here, to know whether a response has begun.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{Limits, MAX_HEAD, MAX_HEADER_LINES};

/// The flow-control windows of an HTTP/2 stream and connection, in bytes: bodies here are small.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Detects an HTTP/2 connection whose peer has vanished before every call on it has timed out.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) type Message = Request<Full<Bytes>>;

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// The label in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// The state of a connection, shared by all its handles.
struct State {
    opened: Instant,
    /// Milliseconds after `opened`.
    last_used: AtomicU64,
    /// Milliseconds that it may be idle.
    keepalive: AtomicU64,
    received: AtomicU64,
    calls: AtomicUsize,
    /// Concurrent calls that the server accepts over HTTP/2, as far as known.
    max_calls: AtomicUsize,
    retired: AtomicBool,
}

/// An open connection.
pub(crate) struct Opened {
    sender: Sender,
    state: Arc<State>,
}

impl Opened {
    /// Starts HTTP on a stream. Must be called on the runtime that is to drive the connection.
    pub(crate) async fn new(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        protocol: Protocol,
    ) -> hyper::Result<Self> {
        let state = Arc::new(State {
            opened: Instant::now(),
            last_used: AtomicU64::new(0),
            keepalive: AtomicU64::new(u64::MAX),
            received: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            max_calls: AtomicUsize::new(usize::MAX),
            retired: AtomicBool::new(false),
        });
        let io = TokioIo::new(Counted { stream, state: Arc::clone(&state) });
        // The calls on a connection learn how it ends.
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .max_buf_size(MAX_HEAD)
                    .max_header_size(MAX_HEAD)
                    .max_headers(MAX_HEADER_LINES)
                    .handshake(io)
                    .await?;
                tokio::spawn(async move { drop(connection.await) });
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .keep_alive_interval(PING_INTERVAL)
                    .keep_alive_timeout(PING_TIMEOUT)
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
                    .handshake(io)
                    .await?;
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let mut connection = pin!(connection);
                    let driven = std::future::poll_fn(|cx| {
                        let polled = connection.as_mut().poll(cx);
                        state.max_calls.store(connection.current_max_send_streams(), Ordering::Release);
                        polled
                    });
                    drop(driven.await);
                });
                Sender::Http2(sender)
            }
        };
        Ok(Self { sender, state })
    }

    /// The protocol.
    pub(crate) fn protocol(&self) -> Protocol {
        match self.sender {
            Sender::Http1(_) => Protocol::Http1,
            Sender::Http2(_) => Protocol::Http2,
        }
    }

    /// Whether it may take another call.
    pub(crate) fn is_usable(&self, limits: &Limits, now: Instant) -> bool {
        let closed = match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        };
        let retired = self.state.retired.load(Ordering::Acquire);
        let age = now.saturating_duration_since(self.state.opened);
        let old = age >= limits.max_age;
        let unused = self.state.calls.load(Ordering::Acquire) == 0 && self.state.is_idle_too_long(age);
        !(closed || retired || old || unused)
    }

    /// Another handle for one more call, if calls can share it and the server accepts another.
    pub(crate) fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        let room = self.state.calls.load(Ordering::Acquire) < self.state.max_calls.load(Ordering::Acquire).max(1);
        room.then(|| Self { sender: Sender::Http2(sender.clone()), state: Arc::clone(&self.state) })
    }

    /// Takes the connection for one call, after which it may be idle for this long.
    pub(crate) fn lease(self, usage: Usage, keepalive: Duration) -> Lease {
        self.state.keepalive.store(milliseconds(keepalive), Ordering::Release);
        self.state.calls.fetch_add(1, Ordering::AcqRel);
        let received = self.state.received.load(Ordering::Acquire);
        Lease { call: Counter(Arc::clone(&self.state)), opened: self, usage, received }
    }
}

/// Whether a connection has served a call before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    New,
    Reused,
}

/// A connection during a call.
pub(crate) struct Lease {
    opened: Opened,
    usage: Usage,
    received: u64,
    call: Counter,
}

impl Lease {
    /// The protocol.
    pub(crate) fn protocol(&self) -> Protocol {
        self.opened.protocol()
    }

    /// Whether it has served a call before.
    pub(crate) fn is_reused(&self) -> bool {
        self.usage == Usage::Reused
    }

    /// Whether nothing was received since the call began. Over HTTP/2, received bytes may be for other calls.
    pub(crate) fn has_received_nothing(&self) -> bool {
        self.opened.state.received.load(Ordering::Acquire) == self.received
    }

    /// Stops accepting calls on it. Current calls continue.
    pub(crate) fn retire(&self) {
        self.opened.state.retired.store(true, Ordering::Release);
    }

    /// Sends a request and returns the head of the response.
    pub(crate) async fn send(&mut self, message: Message) -> Result<Response<Incoming>, TrySendError<Message>> {
        match &mut self.opened.sender {
            Sender::Http1(sender) => sender.try_send_request(message).await,
            Sender::Http2(sender) => sender.try_send_request(message).await,
        }
    }

    /// Returns the connection once it can take the next call; `None` if it cannot, or is already shared.
    pub(crate) async fn settle(self, within: Duration) -> Option<Opened> {
        let Self { mut opened, call, .. } = self;
        let Sender::Http1(sender) = &mut opened.sender else { return None };
        tokio::time::timeout(within, sender.ready()).await.ok()?.ok()?;
        drop(call);
        Some(opened)
    }
}

/// Counts a call on a connection as long as it lives.
struct Counter(Arc<State>);

impl Drop for Counter {
    fn drop(&mut self) {
        self.0.last_used.store(milliseconds(self.0.opened.elapsed()), Ordering::Release);
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

impl State {
    /// At this age.
    fn is_idle_too_long(&self, age: Duration) -> bool {
        let idle = milliseconds(age).saturating_sub(self.last_used.load(Ordering::Acquire));
        idle >= self.keepalive.load(Ordering::Acquire)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A stream that counts what is read from it.
struct Counted<S> {
    stream: S,
    state: Arc<State>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len().saturating_sub(before);
        self.state.received.fetch_add(u64::try_from(read).unwrap_or(u64::MAX), Ordering::AcqRel);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
