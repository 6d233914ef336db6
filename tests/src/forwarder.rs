//! A TCP forwarder that can be cut, blocked or slowed down.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Forwards connections until dropped. Then all connections are closed, and new ones are refused.
#[derive(Debug)]
pub struct Forwarder {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
    flow: watch::Sender<Flow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Blocked,
    /// What comes from the target is held back for so long.
    Slow(Duration),
}

impl Forwarder {
    /// Forwards to `HOST:PORT`, from a free port.
    pub async fn to(target: String) -> Self {
        Self::listening(([127, 0, 0, 1], 0).into(), target).await
    }

    /// Forwards again from a given address.
    pub async fn listening(address: SocketAddr, target: String) -> Self {
        let listener = TcpListener::bind(address).await.expect("an address to listen on");
        let address = listener.local_addr().unwrap();
        let (flow, flowing) = watch::channel(Flow::Open);
        let task = tokio::spawn(async move {
            // Dropping it with this task closes its connections.
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(connect(near, target.clone(), flowing.clone()));
            }
        });
        Self { address, task, flow }
    }

    /// Closes all connections and the listener, and waits for that.
    pub async fn cut(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Holds back all data silently: connections stay open, and new ones are accepted.
    pub fn block(&self) {
        self.flow.send_replace(Flow::Blocked);
    }

    /// Delays all data from the target.
    pub fn slow(&self, delay: Duration) {
        self.flow.send_replace(Flow::Slow(delay));
    }

    /// Forwards again, without delay, starting with the data held back.
    pub fn unblock(&self) {
        self.flow.send_replace(Flow::Open);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(near: TcpStream, target: String, mut flowing: watch::Receiver<Flow>) {
    if flowing.wait_for(|flow| *flow != Flow::Blocked).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(
        carry(near_in, far_out, flowing.clone(), |_| Duration::ZERO),
        carry(far_in, near_out, flowing, |flow| match flow {
            Flow::Slow(delay) => delay,
            Flow::Open | Flow::Blocked => Duration::ZERO,
        })
    );
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut flowing: watch::Receiver<Flow>,
    delay: fn(Flow) -> Duration,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await;
        if flowing.wait_for(|flow| *flow != Flow::Blocked).await.is_err() {
            return;
        }
        let delay = delay(*flowing.borrow());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let going_on = match read {
            Ok(count) if count > 0 => bytes.get(..count).unwrap_or_default(),
            Ok(_) | Err(_) => return,
        };
        if to.write_all(going_on).await.is_err() {
            return;
        }
    }
}
