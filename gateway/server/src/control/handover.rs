//! Listeners are handed from a process to the one that takes its place.
//!
//! 1. The new process connects to the control socket of the old one, and is sent its listening sockets (SCM_RIGHTS) with
//!    what says which they are, and the keys of what is cached. Both have the sockets now; the old one goes on.
//! 2. The new process starts, and says so when it is ready. If it ends instead, nothing has changed.
//! 3. The old process accepts nothing any more, says so, and drains. No connection is lost: what waits in a socket's queue
//!    is accepted by whoever has the socket.
//!
//! No token is handed over: keys are digests, which the new process looks up in the store.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::{TAKE_OVER, client};
use crate::sockets::{Name, Passed};

/// How long the other process may take for a step that needs no work.
const STEP: Duration = Duration::from_secs(10);

/// How long a process may take to start.
pub(super) const START: Duration = Duration::from_secs(600);

/// The longest description of the sockets.
const HEAD: usize = 4096;

/// The most bytes of keys.
pub const MOST_KEYS: usize = 8 << 20;

/// The new process is ready.
const READY: &[u8] = b"ready\n";
/// The old one accepts nothing any more.
const DRAINING: &[u8] = b"drains\n";

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no process to take over from.
    #[error("--take-over: {0}")]
    NotRunning(#[from] client::Error),
    /// It refused.
    #[error("--take-over: the running gateway refuses: {0}")]
    Refused(String),
    /// It broke off.
    #[error("--take-over: the running gateway broke off")]
    Broken(#[from] io::Error),
}

/// What is said of the sockets.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// Why there are none.
    refused: Option<String>,
    sockets: Vec<Described>,
    /// The number of bytes of keys that follow.
    keys: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Described {
    listener: String,
    is_activated: bool,
}

/// What the old process hands over.
pub struct Handed {
    /// Its sockets.
    pub sockets: Vec<Passed>,
    /// The keys of what it has cached.
    pub keys: Vec<u8>,
    /// The old process, which waits.
    pub old: Predecessor,
}

/// The process whose place this one takes. It waits as long as this is not dropped.
pub struct Predecessor(UnixStream);

/// Takes the listeners of the process with this data directory.
///
/// # Errors
/// There is none, or it does not hand them over.
pub fn take(directory: &Path) -> Result<Handed, Error> {
    let mut old = client::connect(directory)?;
    old.set_read_timeout(Some(STEP))?;
    old.set_write_timeout(Some(STEP))?;
    old.write_all(format!("{TAKE_OVER}\n").as_bytes())?;
    let (read, descriptors) = receive(&old)?;
    let end = read.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
    let (head, rest) = read.split_at(end);
    let head: Head = serde_json::from_slice(head).map_err(io::Error::from)?;
    if let Some(reason) = head.refused {
        return Err(Error::Refused(reason));
    }
    if head.sockets.len() != descriptors.len() || head.keys > MOST_KEYS {
        return Err(broken().into());
    }
    let mut keys = rest.get(1..).unwrap_or_default().to_vec();
    let read_already = keys.len();
    keys.resize(head.keys.max(read_already), 0);
    old.read_exact(keys.get_mut(read_already..).unwrap_or_default())?;
    let passed = |(described, socket): (Described, OwnedFd)| {
        let listener = Name::parse(&described.listener)?;
        Some(Passed { listener, socket: TcpListener::from(socket), is_activated: described.is_activated })
    };
    // A listener that this version does not know is left to the old process.
    let sockets = head.sockets.into_iter().zip(descriptors).filter_map(passed).collect();
    Ok(Handed { sockets, keys, old: Predecessor(old) })
}

impl Predecessor {
    /// Says that this process is ready; when this returns, the old one accepts nothing any more.
    ///
    /// # Errors
    /// It is gone, or has given up waiting.
    pub fn replace(mut self) -> io::Result<()> {
        self.0.write_all(READY)?;
        let mut said = [0; DRAINING.len()];
        self.0.read_exact(&mut said)
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unexpected response")
}

/// The first bytes that the old process sends, and its sockets.
fn receive(old: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; HEAD];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(Name::ALL.len()))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(old, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(broken());
    }
    let of = |message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    };
    let descriptors = ancillary.drain().filter_map(of).flatten().collect();
    bytes.truncate(received.bytes);
    Ok((bytes, descriptors))
}

/// Hands sockets and keys to the process that takes over.
///
/// # Errors
/// It is gone.
pub(super) fn hand(new: &mut UnixStream, sockets: &[Passed], keys: &[u8]) -> io::Result<()> {
    new.set_write_timeout(Some(STEP))?;
    let described = |passed: &Passed| Described {
        listener: passed.listener.as_str().to_owned(),
        is_activated: passed.is_activated,
    };
    let head = Head { refused: None, sockets: sockets.iter().map(described).collect(), keys: keys.len() };
    let mut head = serde_json::to_vec(&head)?;
    head.push(b'\n');
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|passed| passed.socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(Name::ALL.len()))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(broken());
    }
    let sent = sendmsg(&*new, &[IoSlice::new(&head)], &mut ancillary, SendFlags::empty())?;
    new.write_all(head.get(sent..).unwrap_or_default())?;
    new.write_all(keys)
}

/// Tells a process that takes over nothing.
pub(super) fn refuse(new: &mut UnixStream, reason: &str) -> io::Result<()> {
    let head = Head { refused: Some(reason.to_owned()), sockets: Vec::new(), keys: 0 };
    let mut head = serde_json::to_vec(&head)?;
    head.push(b'\n');
    new.write_all(&head)
}

/// Waits until the new process says that it is ready.
///
/// # Errors
/// It has ended, or takes too long.
pub(super) fn wait_for(new: &mut UnixStream) -> io::Result<()> {
    new.set_read_timeout(Some(START))?;
    let mut said = [0; READY.len()];
    new.read_exact(&mut said)?;
    if said == READY { Ok(()) } else { Err(broken()) }
}

/// Says that this process accepts nothing any more.
pub(super) fn let_go(new: &mut UnixStream) -> io::Result<()> {
    new.write_all(DRAINING)
}
