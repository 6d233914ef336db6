//! Against a name server of the test's own, over UDP and TCP.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::{Families, Nameserver, Resolver, Settings};

/// What a server does with questions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers,
    Fails,
    Silent,
}

struct Zone {
    records: HashMap<(String, RecordType), Vec<(u32, RData)>>,
    mood: Mood,
}

struct Server {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<AtomicUsize>,
    over_tcp: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone { records: HashMap::new(), mood: Mood::Answers }));
        let server = Self { address, zone, asked: Arc::default(), over_tcp: Arc::default() };
        let (zone, asked) = (Arc::clone(&server.zone), Arc::clone(&server.asked));
        tokio::spawn(async move {
            let mut question = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut question).await {
                asked.fetch_add(1, Ordering::SeqCst);
                if let Some(answer) = answer(&zone, &question[..length], 512) {
                    udp.send_to(&answer, from).await.unwrap();
                }
            }
        });
        let (zone, over_tcp) = (Arc::clone(&server.zone), Arc::clone(&server.over_tcp));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let (zone, over_tcp) = (Arc::clone(&zone), Arc::clone(&over_tcp));
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut question = vec![0; length.into()];
                        stream.read_exact(&mut question).await.unwrap();
                        over_tcp.fetch_add(1, Ordering::SeqCst);
                        let Some(answer) = answer(&zone, &question, usize::from(u16::MAX)) else { return };
                        stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        server
    }

    fn set(&self, name: &str, kind: RecordType, records: Vec<(u32, RData)>) {
        self.zone.lock().unwrap().records.insert((format!("{name}."), kind), records);
    }

    fn set_a(&self, name: &str, ttl: u32, last: impl IntoIterator<Item = u8>) {
        let record = |last| (ttl, RData::A(A(Ipv4Addr::new(10, 0, 0, last))));
        self.set(name, RecordType::A, last.into_iter().map(record).collect());
    }

    fn be(&self, mood: Mood) {
        self.zone.lock().unwrap().mood = mood;
    }

    fn resolver(&self) -> Resolver {
        let settings = Settings { nameservers: vec![Nameserver(self.address)], ..Settings::default() };
        Resolver::new(tokio::runtime::Handle::current(), &settings).unwrap()
    }
}

fn answer(zone: &Mutex<Zone>, question: &[u8], room: usize) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries.first()?.clone();
    let zone = zone.lock().unwrap();
    if zone.mood == Mood::Silent {
        return None;
    }
    let mut response = Message::response(asked.metadata.id, asked.metadata.op_code);
    response.metadata.message_type = MessageType::Response;
    response.add_query(query.clone());
    let name = query.name().to_string().to_ascii_lowercase();
    match zone.records.get(&(name.clone(), query.query_type())) {
        _ if zone.mood == Mood::Fails => response.metadata.response_code = ResponseCode::ServFail,
        Some(records) => {
            for (ttl, data) in records {
                response.add_answer(Record::from_rdata(query.name().clone(), *ttl, data.clone()));
            }
        }
        None if zone.records.keys().any(|(known, _)| *known == name) => {}
        None => response.metadata.response_code = ResponseCode::NXDomain,
    }
    let bytes = response.to_vec().ok()?;
    if bytes.len() > room { response.truncate().to_vec().ok() } else { Some(bytes) }
}

fn last_octets(answer: &crate::Answer) -> Vec<u8> {
    let octet = |address: &crate::Address| match address.ip {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    answer.addresses.iter().map(octet).collect()
}

#[tokio::test]
async fn concurrent_callers_share_one_lookup_and_its_answer_lives_as_long_as_its_records() {
    let server = Server::start().await;
    server.set_a("a.test", 1, [1, 2]);
    let resolver = server.resolver();
    let names: Vec<_> = (0..20).map(|_| resolver.name("A.test", Families::First)).collect();
    for answer in futures_of(&names).await {
        assert_eq!(last_octets(&answer), [1, 2]);
    }
    let asked = server.asked.load(Ordering::SeqCst);
    assert_eq!(asked, 2, "SRV, then A");
    server.set_a("a.test", 60, [3]);
    let begun = Instant::now();
    while last_octets(&names[0].answer().await.unwrap()) != [3] {
        assert!(begun.elapsed() < Duration::from_secs(5), "the records live for a second");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), asked + 1, "what was found last is asked first");
}

async fn futures_of(names: &[crate::Name]) -> Vec<Arc<crate::Answer>> {
    let tasks: Vec<_> = names.iter().cloned().map(|name| tokio::spawn(async move { name.answer().await })).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap().unwrap());
    }
    answers
}

#[tokio::test]
async fn old_addresses_are_used_without_waiting_while_the_name_server_fails_or_hangs() {
    for mood in [Mood::Fails, Mood::Silent] {
        let server = Server::start().await;
        server.set_a("a.test", 1, [1]);
        let name = server.resolver().name("a.test", Families::First);
        assert_eq!(last_octets(&name.answer().await.unwrap()), [1]);
        server.be(mood);
        let asked = server.asked.load(Ordering::SeqCst);
        let begun = Instant::now();
        let mut waits = Vec::new();
        while begun.elapsed() < Duration::from_secs(3) {
            let before = Instant::now();
            assert_eq!(last_octets(&name.answer().await.unwrap()), [1]);
            waits.push(before.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(server.asked.load(Ordering::SeqCst) > asked, "it was asked again");
        // The machine may be busy now and then.
        let longest = waits.iter().max().unwrap();
        let long = waits.iter().filter(|wait| **wait >= Duration::from_millis(150)).count();
        assert!(long <= 2 && *longest < Duration::from_secs(2), "nobody waits for it: {long}, {longest:?}");
        server.set_a("a.test", 60, [2]);
        server.be(Mood::Answers);
        while last_octets(&name.answer().await.unwrap()) != [2] {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is renewed once the server answers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_name_that_has_no_address_any_more_has_none() {
    let server = Server::start().await;
    server.set_a("a.test", 1, [1]);
    let name = server.resolver().name("a.test", Families::First);
    assert!(name.answer().await.is_ok());
    server.zone.lock().unwrap().records.clear();
    let begun = Instant::now();
    loop {
        match name.answer().await {
            Err(error) => {
                assert_eq!(error.to_string(), "cannot resolve a.test: it has no address");
                break;
            }
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(5)),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_name_server_that_hangs_fails_a_first_lookup_within_its_limit_and_once_for_all() {
    let server = Server::start().await;
    server.be(Mood::Silent);
    let resolver = server.resolver();
    let begun = Instant::now();
    let name = resolver.name("a.test", Families::First);
    let same = resolver.name("a.test", Families::First);
    let (one, other) = tokio::join!(name.answer(), same.answer());
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    for error in [one.unwrap_err(), other.unwrap_err()] {
        assert!(!error.is_certain(), "{error}");
    }
}

#[tokio::test]
async fn srv_records_give_ports_weights_and_names_those_of_the_lowest_priority() {
    let server = Server::start().await;
    let srv = |priority, weight, port, target: &str| {
        (60, RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap())))
    };
    server.set(
        "api.test",
        RecordType::SRV,
        vec![srv(1, 10, 8001, "one.test."), srv(1, 0, 8002, "two.test."), srv(2, 90, 8003, "spare.test.")],
    );
    server.set_a("one.test", 60, [1]);
    server.set_a("two.test", 60, [2]);
    server.set_a("spare.test", 60, [3]);
    let answer = server.resolver().name("api.test", Families::First).answer().await.unwrap();
    let found: Vec<_> = answer
        .addresses
        .iter()
        .map(|address| {
            (address.ip.to_string(), address.port, address.weight, address.name.as_deref().unwrap_or_default())
        })
        .collect();
    let expected = [
        ("10.0.0.1".to_owned(), Some(8001), Some(10), "one.test"),
        ("10.0.0.2".to_owned(), Some(8002), Some(1), "two.test"),
    ];
    assert_eq!((found, answer.source.as_str()), (expected.to_vec(), "SRV"));
    let plain = server.resolver().name("one.test", Families::All).answer().await.unwrap();
    assert_eq!(last_octets(&plain), [1]);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_a_datagram_comes_over_tcp() {
    let server = Server::start().await;
    server.set_a("many.test", 60, 1..=200);
    let answer = server.resolver().name("many.test", Families::First).answer().await.unwrap();
    assert_eq!(answer.addresses.len(), 200);
    assert!(server.over_tcp.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn a_name_that_nobody_uses_is_not_asked_for() {
    let server = Server::start().await;
    server.set_a("a.test", 1, [1]);
    let resolver = server.resolver();
    let name = resolver.name("a.test", Families::First);
    name.answer().await.unwrap();
    // It was used, so it is renewed once more at most.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let asked = server.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(server.asked.load(Ordering::SeqCst), asked);
    server.set_a("a.test", 60, [2]);
    assert_eq!(last_octets(&name.answer().await.unwrap()), [2], "after a pause there is a moment for a new answer");
}
