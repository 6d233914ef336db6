use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use tollgate_core::clock::{Clock, ManualClock};
use tollgate_core::random::{Random, SystemRandom};
use tollgate_core::request::{Addressed, Arrival, Connection, Edits, RequestBody, Target};
use uuid::Uuid;

use super::*;

#[derive(Debug)]
struct Third;

impl Arrival for Third {
    fn local_address(&self) -> Option<std::net::SocketAddr> {
        Some("192.0.2.1:8000".parse().unwrap())
    }

    fn connection(&self) -> Connection {
        Connection { serial: 7, requests: 3 }
    }
}

struct World(CorrelationId);

impl World {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(1_700_000_000));
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        Self(CorrelationId { generators: Arc::new(Generators::new(random, clock)) })
    }

    /// The edits of the request and of the response.
    fn run(&self, config: &Value, given: Option<&'static str>) -> (Vec<HeaderEdit>, Vec<HeaderEdit>) {
        let instance = Instance { id: Uuid::nil(), service_id: None, route_id: None, config };
        let handler = self.0.compile(&instance).unwrap();
        let headers = given.map(|given| (HeaderName::from_static("x-id"), HeaderValue::from_static(given)));
        let headers = HeaderMap::from_iter(headers);
        let target = Target { route_id: Uuid::nil(), service_id: None };
        let mut request = Request {
            method: &Method::GET,
            path: "/",
            query: None,
            headers: &headers,
            http2: false,
            tls: false,
            peer: [127, 0, 0, 1].into(),
            client: [127, 0, 0, 1].into(),
            peer_trusted: false,
            addressed: Addressed::default(),
            certificate: None,
            arrival: &Third,
            target: &target,
            body: RequestBody::Unread,
            edits: Edits::default(),
            response: Vec::new(),
            identity: None,
            served_stale: None,
            notes: None,
        };
        assert!(matches!(handler.access(&mut request), Access::Ready(Ok(Verdict::Continue))));
        (request.edits.headers.into_vec(), request.response)
    }

    fn made(&self, generator: &str) -> String {
        let config = json!({"header_name": "X-Id", "generator": generator, "echo_downstream": true});
        let (sent, echoed) = self.run(&config, None);
        assert_eq!(sent, echoed);
        let [HeaderEdit::Set(name, value)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(name, "x-id");
        value.to_str().unwrap().to_owned()
    }
}

#[test]
fn each_generator_makes_ids_of_its_form() {
    let world = World::new();
    let uuid = |text: &str| Uuid::parse_str(text).unwrap();
    assert_ne!(uuid(&world.made("uuid")), uuid(&world.made("uuid")));
    let (first, second) = (world.made("uuid#counter"), world.made("uuid#counter"));
    let split = |text: &str| text.split_once('#').map(|(node, number)| (uuid(node), number.to_owned())).unwrap();
    let ((node, one), (same, two)) = (split(&first), split(&second));
    assert_eq!((node, one.as_str(), two.as_str()), (same, "1", "2"));
    let expected = format!("192.0.2.1-8000-{}-7-3-1700000000.000", std::process::id());
    assert_eq!(world.made("tracker"), expected);
}

#[test]
fn the_callers_id_goes_on_and_an_empty_one_is_replaced() {
    let world = World::new();
    let config = |echo: bool| json!({"header_name": "X-Id", "generator": "uuid", "echo_downstream": echo});
    let echoed = HeaderEdit::Set(HeaderName::from_static("x-id"), HeaderValue::from_static("mine"));
    assert_eq!(world.run(&config(true), Some("mine")), (vec![], vec![echoed]));
    assert_eq!(world.run(&config(false), Some("mine")), (vec![], vec![]));
    let (sent, echoed) = world.run(&config(false), Some(""));
    assert_eq!((sent.len(), echoed.len()), (1, 0));
}
