//! A client's connection in memory.

use std::cell::RefCell;
use std::time::Duration;

use pingora_core::protocols::http::v1::server::HttpSession;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

/// More than any input, so that writing never waits.
pub(crate) const CAPACITY: usize = 1 << 20;

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));
}

/// Runs a future to its end, which is soon: nothing that it waits for takes time.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), future).await.expect("an end") })
    })
}

/// A session with a client that sends these pieces, one after the other, and then disconnects.
pub(crate) async fn with<T>(pieces: &[&[u8]], session: impl AsyncFnOnce(&mut HttpSession) -> T) -> T {
    let (mut client, server) = tokio::io::duplex(CAPACITY);
    let mut http = HttpSession::new(Box::new(server));
    let send = async move {
        for piece in pieces {
            // The server may have disconnected.
            let _ = client.write_all(piece).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(session(&mut http), send).0
}
