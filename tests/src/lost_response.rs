//! A forwarder to PostgreSQL that loses the response to one commit: the server commits, then both ends see the
//! connection break.
//!
//! It parses only the necessary parts of the protocol: which statement is bound, where a transaction ends, and
//! which `ReadyForQuery` belongs to that.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// Forwards connections until dropped.
#[derive(Debug)]
pub struct LostResponses {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
    plan: Arc<Plan>,
}

/// Which response to lose, and how many were lost.
#[derive(Debug)]
struct Plan {
    next: Mutex<Option<String>>,
    lost: watch::Sender<usize>,
}

/// The state of one connection.
#[derive(Debug, Default)]
struct Connection {
    /// The text of each prepared statement.
    statements: HashMap<Vec<u8>, String>,
    /// Whether the matching statement was bound in the open transaction.
    found: bool,
    in_transaction: bool,
    asked: usize,
    responses: usize,
    /// The number of the response to lose.
    lose: Option<usize>,
}

impl LostResponses {
    /// Forwards to `HOST:PORT`, from a free port.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Plan { next: Mutex::default(), lost: watch::Sender::new(0) });
        let planned = Arc::clone(&plan);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (target, plan) = (target.clone(), Arc::clone(&planned));
                connections.spawn(async move { forward(near, target, plan).await });
            }
        });
        Self { address, task, plan }
    }

    /// Forwards to the server of a database, and returns the database's URL through it.
    pub async fn before(database: &str) -> (String, Self) {
        let mut url = url::Url::parse(database).expect("a URL");
        let target = format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5432));
        let forwarder = Self::to(target).await;
        url.set_ip_host(forwarder.address.ip()).expect("a URL with a host");
        url.set_port(Some(forwarder.address.port())).expect("a URL with a port");
        (url.into(), forwarder)
    }

    /// Loses the response to the next commit of a statement whose text contains `part`.
    pub fn lose_next(&self, part: &str) {
        *self.plan.next.lock().unwrap() = Some(part.to_owned());
    }

    /// Loses no more responses, even if none was lost yet.
    pub fn lose_no_more(&self) {
        *self.plan.next.lock().unwrap() = None;
    }

    /// How many responses were lost.
    pub fn lost(&self) -> usize {
        *self.plan.lost.borrow()
    }
}

impl Drop for LostResponses {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Tracks a message from the client.
    fn sends(&mut self, plan: &Plan, kind: u8, body: &[u8]) {
        match kind {
            b'P' => {
                let mut parts = body.split(|byte| *byte == 0);
                let (name, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                self.statements.insert(name.to_vec(), String::from_utf8_lossy(text).into_owned());
            }
            b'B' => {
                let name = body.split(|byte| *byte == 0).nth(1).unwrap_or_default();
                let mut next = plan.next.lock().unwrap();
                let text = self.statements.get(name);
                if next.as_ref().is_some_and(|part| text.is_some_and(|text| text.contains(part))) {
                    *next = None;
                    self.found = true;
                    self.lose = (!self.in_transaction).then_some(self.asked + 1);
                }
            }
            b'S' => self.asked += 1,
            b'Q' => {
                self.asked += 1;
                if body.starts_with(b"COMMIT") && self.found {
                    self.lose = Some(self.asked);
                }
            }
            _ => {}
        }
    }

    /// Tracks a message from the server, and decides whether it is forwarded.
    fn receives(&mut self, kind: u8, body: &[u8]) -> Arrival {
        let lost = self.lose == Some(self.responses + 1);
        if kind == b'Z' {
            self.responses += 1;
            self.in_transaction = body.first() != Some(&b'I');
        }
        match (lost, kind) {
            (false, _) => Arrival::Forwarded,
            (true, b'Z') => Arrival::Broken,
            (true, _) => Arrival::Swallowed,
        }
    }
}

enum Arrival {
    Forwarded,
    Swallowed,
    Broken,
}

async fn forward(mut near: TcpStream, target: String, plan: Arc<Plan>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    // Messages are forwarded one by one.
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    if begin(&mut near, &mut far).await.is_none() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // The start-up message gets a response like a query.
    let connection = Mutex::new(Connection { asked: 1, ..Connection::default() });
    // When one direction ends, both end.
    tokio::select! {
        _ = queries(near_in, far_out, &plan, &connection) => {}
        _ = responses(far_in, near_out, &plan, &connection) => {}
    }
}

/// Forwards the start-up exchange, whose first message has no type byte.
async fn begin(near: &mut TcpStream, far: &mut TcpStream) -> Option<()> {
    loop {
        let length = near.read_u32().await.ok()?;
        let mut body = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
        near.read_exact(&mut body).await.ok()?;
        far.write_all(&[length.to_be_bytes().as_slice(), &body].concat()).await.ok()?;
        let code = u32::from_be_bytes(body.get(..4)?.try_into().ok()?);
        if code != SSL_REQUEST && code != GSS_REQUEST {
            return Some(());
        }
        let response = far.read_u8().await.ok()?;
        near.write_all(&[response]).await.ok()?;
    }
}

async fn message(from: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>, Vec<u8>)> {
    let kind = from.read_u8().await.ok()?;
    let length = from.read_u32().await.ok()?;
    let mut body = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
    from.read_exact(&mut body).await.ok()?;
    let whole = [&[kind], length.to_be_bytes().as_slice(), &body].concat();
    Some((kind, body, whole))
}

async fn queries(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    plan: &Plan,
    connection: &Mutex<Connection>,
) -> Option<()> {
    loop {
        let (kind, body, whole) = message(&mut from).await?;
        connection.lock().unwrap().sends(plan, kind, &body);
        to.write_all(&whole).await.ok()?;
    }
}

async fn responses(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    plan: &Plan,
    connection: &Mutex<Connection>,
) -> Option<()> {
    loop {
        let (kind, body, whole) = message(&mut from).await?;
        let arrival = connection.lock().unwrap().receives(kind, &body);
        match arrival {
            Arrival::Forwarded => to.write_all(&whole).await.ok()?,
            Arrival::Swallowed => {}
            Arrival::Broken => {
                plan.lost.send_modify(|lost| *lost += 1);
                return None;
            }
        }
    }
}
