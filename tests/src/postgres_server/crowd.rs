//! Connections that leave a server none for anybody else, as a crowd of other programs does.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::{PostgresServer, ROLE};

/// The name under which they are known to the server.
const NAME: &str = "crowd";
/// More than there can be.
const MOST: usize = 1000;

/// The connections, until it is dropped.
#[derive(Debug)]
pub struct Crowd(#[expect(dead_code, reason = "they are open")] Vec<TcpStream>);

impl PostgresServer {
    /// Takes every connection that gateways could have, also from those that have one.
    pub fn crowded(&self) -> Crowd {
        let mut connections = Vec::new();
        let others = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE usename = '{ROLE}' AND application_name <> '{NAME}'"
        );
        loop {
            while let Some(connection) = self.take() {
                connections.push(connection);
                assert!(connections.len() < MOST, "the server has no limit of connections");
            }
            // A superuser has connections of its own.
            if self.run(&others) == "0" {
                return Crowd(connections);
            }
        }
    }

    /// A connection of a gateway's role; `None`: there are too many.
    fn take(&self) -> Option<TcpStream> {
        /// The version of the protocol: 3.0.
        const VERSION: [u8; 4] = [0, 3, 0, 0];
        let mut stream = TcpStream::connect(self.authority()).expect("a server that listens");
        let parameters = format!("user\0{ROLE}\0database\0{ROLE}\0application_name\0{NAME}\0\0");
        let length = u32::try_from(8 + parameters.len()).expect("a short message").to_be_bytes();
        let first = [&length[..], &VERSION, parameters.as_bytes()].concat();
        stream.write_all(&first).expect("a server that reads");
        loop {
            let (kind, body) = message(&mut stream);
            match kind {
                // It is ready for a query.
                b'Z' => return Some(stream),
                b'E' => {
                    let refusal = String::from_utf8_lossy(&body);
                    assert!(refusal.contains("53300"), "{refusal}");
                    return None;
                }
                _ => {}
            }
        }
    }
}

/// The kind of the server's next message, and what it says.
fn message(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).expect("a message");
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).expect("a length");
    let mut body = vec![0; length.saturating_sub(4)];
    stream.read_exact(&mut body).expect("a message");
    (kind, body)
}
