//! A way to PostgreSQL that loses the answer to one commit: the server commits, and both ends then
//! see the connection break.
//!
//! It reads as much of the protocol as that takes: which statement is bound, where a transaction
//! ends, and which `ReadyForQuery` answers that.

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

/// Forwards connections while it lives.
#[derive(Debug)]
pub struct LostAnswers {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
    plan: Arc<Plan>,
}

/// Which answer is to be lost, and how many were.
#[derive(Debug)]
struct Plan {
    next: Mutex<Option<String>>,
    lost: watch::Sender<usize>,
}

/// What is known of one connection.
#[derive(Debug, Default)]
struct Connection {
    /// The text of each prepared statement.
    statements: HashMap<Vec<u8>, String>,
    /// Whether the statement that is looked for was bound in the transaction that is open.
    found: bool,
    in_transaction: bool,
    asked: usize,
    answered: usize,
    /// The answer that is lost.
    lose: Option<usize>,
}

impl LostAnswers {
    /// A way to `HOST:PORT`, on a free port.
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

    /// Loses the answer to the next commit of a statement whose text contains `part`.
    pub fn lose_next(&self, part: &str) {
        *self.plan.next.lock().unwrap() = Some(part.to_owned());
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        *self.plan.lost.borrow()
    }
}

impl Drop for LostAnswers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Takes note of what the client sends.
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

    /// Takes note of what the server sends, and says whether it arrives.
    fn receives(&mut self, kind: u8, body: &[u8]) -> Arrival {
        let lost = self.lose == Some(self.answered + 1);
        if kind == b'Z' {
            self.answered += 1;
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
    if begin(&mut near, &mut far).await.is_none() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // The beginning of a session is answered like a question.
    let connection = Mutex::new(Connection { asked: 1, ..Connection::default() });
    // Whichever ends first ends both.
    tokio::select! {
        _ = questions(near_in, far_out, &plan, &connection) => {}
        _ = answers(far_in, near_out, &plan, &connection) => {}
    }
}

/// Forwards what comes before the first message that says its kind.
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
        let answer = far.read_u8().await.ok()?;
        near.write_all(&[answer]).await.ok()?;
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

async fn questions(
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

async fn answers(
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
