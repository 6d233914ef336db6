//! A name server of the test's own, over UDP and TCP.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// What it does with questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Answers them.
    Answers,
    /// Says that it has failed.
    Fails,
    /// Says nothing.
    Silent,
}

type Records = HashMap<(String, RecordType), Vec<(u32, RData)>>;

/// On a free port of 127.0.0.1; ends on drop.
#[derive(Debug)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    zone: Arc<Mutex<(Records, Mood)>>,
    asked: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
}

impl NameServer {
    /// Without records.
    pub async fn start() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new((Records::new(), Mood::Answers)));
        let asked = Arc::new(AtomicUsize::new(0));
        let over_udp = tokio::spawn(serve_udp(udp, Arc::clone(&zone), Arc::clone(&asked)));
        let over_tcp = tokio::spawn(serve_tcp(tcp, Arc::clone(&zone), Arc::clone(&asked)));
        Self { address, zone, asked, tasks: [over_udp, over_tcp] }
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Behaves like this from now on.
    pub fn be(&self, mood: Mood) {
        self.zone.lock().unwrap().1 = mood;
    }

    /// The A records of a name from now on; none: it has no address.
    pub fn set_addresses(&self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) {
        let records = addresses.iter().map(|address| (ttl, RData::A(A(*address)))).collect();
        self.zone.lock().unwrap().0.insert((format!("{name}."), RecordType::A), records);
    }

    /// The SRV records of a name from now on: weight, port and host of each.
    pub fn set_servers(&self, name: &str, ttl: u32, servers: &[(u16, u16, &str)]) {
        let record = |(weight, port, host): &(u16, u16, &str)| {
            let host = Name::from_ascii(format!("{host}.")).unwrap();
            (ttl, RData::SRV(SRV::new(0, *weight, *port, host)))
        };
        let records = servers.iter().map(record).collect();
        self.zone.lock().unwrap().0.insert((format!("{name}."), RecordType::SRV), records);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(udp: UdpSocket, zone: Arc<Mutex<(Records, Mood)>>, asked: Arc<AtomicUsize>) {
    let mut question = [0; 1500];
    while let Ok((length, from)) = udp.recv_from(&mut question).await {
        asked.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = answer(&zone, &question[..length], 512) {
            udp.send_to(&answer, from).await.expect("sent");
        }
    }
}

async fn serve_tcp(tcp: TcpListener, zone: Arc<Mutex<(Records, Mood)>>, asked: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = tcp.accept().await {
        let (zone, asked) = (Arc::clone(&zone), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; length.into()];
                if stream.read_exact(&mut question).await.is_err() {
                    return;
                }
                asked.fetch_add(1, Ordering::SeqCst);
                let Some(answer) = answer(&zone, &question, usize::from(u16::MAX)) else { return };
                let length = u16::try_from(answer.len()).unwrap();
                if stream.write_u16(length).await.is_err() || stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn answer(zone: &Mutex<(Records, Mood)>, question: &[u8], room: usize) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries.first()?.clone();
    let zone = zone.lock().unwrap();
    let (records, mood) = &*zone;
    if *mood == Mood::Silent {
        return None;
    }
    let mut response = Message::response(asked.metadata.id, asked.metadata.op_code);
    response.metadata.message_type = MessageType::Response;
    response.add_query(query.clone());
    let name = query.name().to_string().to_ascii_lowercase();
    match records.get(&(name.clone(), query.query_type())) {
        _ if *mood == Mood::Fails => response.metadata.response_code = ResponseCode::ServFail,
        Some(found) => {
            for (ttl, data) in found {
                response.add_answer(Record::from_rdata(query.name().clone(), *ttl, data.clone()));
            }
        }
        None if records.keys().any(|(known, _)| *known == name) => {}
        None => response.metadata.response_code = ResponseCode::NXDomain,
    }
    let bytes = response.to_vec().ok()?;
    if bytes.len() > room { response.truncate().to_vec().ok() } else { Some(bytes) }
}
