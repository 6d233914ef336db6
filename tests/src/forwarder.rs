//! A way to a server that can be cut.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Forwards connections while it lives. With it go all of them, and new ones are refused.
#[derive(Debug)]
pub struct Forwarder {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Forwarder {
    /// A way to `HOST:PORT`, on a free port.
    pub async fn to(target: String) -> Self {
        Self::listening(([127, 0, 0, 1], 0).into(), target).await
    }

    /// The same way again, at the address where it was.
    pub async fn listening(address: SocketAddr, target: String) -> Self {
        let listener = TcpListener::bind(address).await.expect("an address to listen on");
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            // Ends its connections when it is dropped with this task.
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self { address, task }
    }

    /// Cuts it, and waits for that.
    pub async fn cut(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
