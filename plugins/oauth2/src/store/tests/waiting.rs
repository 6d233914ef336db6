//! The rules of waiting requests.

use super::*;
use crate::store::waiting::{self, Decision, DeviceCode, PushedRequest, WaitingRequests};

const NOW_MILLIS: i64 = NOW * 1000;

struct Waiting {
    requests: Arc<dyn WaitingRequests>,
    plugin: Uuid,
}

impl Waiting {
    async fn of(fixture: &Fixture) -> Self {
        let plugin = put(&fixture.plugins, json!({"name": "oauth2"})).await;
        Self { requests: waiting::open(&fixture.store), plugin }
    }

    fn request(&self, fixture: &Fixture) -> PushedRequest {
        PushedRequest {
            reference: random(),
            credential_id: fixture.credential,
            plugin_id: self.plugin,
            parameters: "{}".to_owned(),
            expires_at: NOW + 60,
        }
    }

    fn device(&self, fixture: &Fixture) -> DeviceCode {
        DeviceCode {
            id: SystemRandom.uuid(),
            device_code: random(),
            user_code: random(),
            credential_id: fixture.credential,
            service_id: Some(fixture.service),
            plugin_id: self.plugin,
            scope: Some("email".to_owned()),
            decision: Decision::Pending,
            poll_interval: 5,
            hurried: false,
            created_at: NOW,
            expires_at: NOW + 600,
            binding: None,
        }
    }

    async fn begun(&self, fixture: &Fixture) -> DeviceCode {
        let device = self.device(fixture);
        assert_eq!(self.requests.insert_device(device.clone()).await.unwrap(), Outcome::Won(()));
        device
    }
}

pub(super) async fn a_pushed_request_is_taken_once(fixture: Fixture) {
    let waiting = Waiting::of(&fixture).await;
    let request = PushedRequest { parameters: "{\"a\":1}".to_owned(), ..waiting.request(&fixture) };
    assert_eq!(waiting.requests.insert_pushed(request.clone()).await.unwrap(), Outcome::Won(()));
    let take = |credential, plugin, now| waiting.requests.take_pushed(request.reference, credential, plugin, now);
    for (credential, plugin, now) in [
        (Uuid::nil(), waiting.plugin, NOW),
        (fixture.credential, Uuid::nil(), NOW),
        (fixture.credential, waiting.plugin, NOW + 61),
    ] {
        assert_eq!(take(credential, plugin, now).await.unwrap(), None);
        assert_eq!(waiting.requests.find_pushed(request.reference, credential, plugin, now).await.unwrap(), None);
    }
    let found = waiting.requests.find_pushed(request.reference, fixture.credential, waiting.plugin, NOW + 60).await;
    assert_eq!(found.unwrap().as_deref(), Some("{\"a\":1}"));
    let taken = join_all((0..20).map(|_| take(fixture.credential, waiting.plugin, NOW + 60))).await;
    let taken: Vec<String> = taken.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken, ["{\"a\":1}"]);
}

pub(super) async fn a_device_code_is_decided_and_redeemed_once(fixture: Fixture) {
    let waiting = Waiting::of(&fixture).await;
    let device = waiting.begun(&fixture).await;
    let (plugin, requests) = (waiting.plugin, &waiting.requests);
    let taken = DeviceCode { user_code: device.user_code, ..waiting.device(&fixture) };
    assert_eq!(requests.insert_device(taken).await.unwrap(), Outcome::Lost);
    assert_eq!(requests.find_user_code(device.user_code, plugin, NOW).await.unwrap(), Some(device.clone()));
    assert_eq!(requests.find_user_code(device.user_code, plugin, NOW + 601).await.unwrap(), None);
    assert_eq!(requests.find_user_code(device.user_code, Uuid::nil(), NOW).await.unwrap(), None);
    let redeem = || requests.redeem_device_code(device.device_code, fixture.credential, fixture.token(), NOW);
    assert_eq!(redeem().await.unwrap(), Outcome::Lost, "nobody has agreed");
    let decide = |userid: usize| {
        let decision = if userid == 0 { Decision::Denied } else { Decision::Approved(format!("user {userid}")) };
        requests.decide(device.user_code, plugin, decision, None, NOW)
    };
    let decided = join_all((1..20).map(decide)).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(won(&decided), 1);
    let winner = decided.into_iter().find_map(|outcome| match outcome {
        Outcome::Won(device) => Some(device),
        Outcome::Lost => None,
    });
    let winner = winner.unwrap();
    assert!(matches!(winner.decision, Decision::Approved(_)) && winner.scope.is_none());
    assert_eq!(decide(0).await.unwrap(), Outcome::Lost);
    let other = requests.redeem_device_code(device.device_code, Uuid::nil(), fixture.token(), NOW).await;
    assert_eq!(other.unwrap(), Outcome::Lost, "of another client");
    let late = requests.redeem_device_code(device.device_code, fixture.credential, fixture.token(), NOW + 601).await;
    assert_eq!(late.unwrap(), Outcome::Lost);
    let redeemed = join_all((0..20).map(|_| redeem())).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!((won(&redeemed), fixture.all().await.len()), (1, 1));
}

pub(super) async fn polls_that_come_too_soon_lengthen_the_interval(fixture: Fixture) {
    let waiting = Waiting::of(&fixture).await;
    let device = waiting.begun(&fixture).await;
    let poll = async |millis| {
        let polled = waiting.requests.poll(device.device_code, fixture.credential, NOW_MILLIS + millis).await;
        let polled = polled.unwrap().unwrap();
        (polled.hurried, polled.poll_interval)
    };
    assert_eq!(poll(0).await, (false, 5), "the first");
    assert_eq!(poll(4_500).await, (false, 5), "nine tenths");
    assert_eq!(poll(8_999).await, (true, 10));
    assert_eq!(poll(17_999).await, (false, 10));
    for _ in 0..20 {
        poll(18_000).await;
    }
    assert_eq!(poll(18_000).await, (true, 60), "at most a minute");
    assert_eq!(poll(1_000_000).await, (false, 60), "even after it has expired");
    let other = waiting.requests.poll(device.device_code, Uuid::nil(), NOW_MILLIS).await.unwrap();
    assert_eq!(other, None, "of another client");
}

pub(super) async fn waiting_requests_go_with_their_entities_and_their_time(fixture: Fixture) {
    let waiting = Waiting::of(&fixture).await;
    let requests = &waiting.requests;
    let (request, device) = (waiting.request(&fixture), waiting.begun(&fixture).await);
    requests.insert_pushed(request.clone()).await.unwrap();
    let sweep = async |now| {
        let mut swept = Vec::new();
        for sweep in waiting::SWEEPS {
            swept.push(fixture.store.clean_now(&sweep).await.unwrap());
        }
        (now, swept)
    };
    // Both expired long ago by the clock of the store.
    assert_eq!(sweep(NOW).await.1, [1, 1]);
    assert_eq!(requests.find_user_code(device.user_code, waiting.plugin, NOW).await.unwrap(), None);
    let far = i64::from(u32::MAX);
    let request = PushedRequest { reference: random(), expires_at: far, ..request };
    let device =
        DeviceCode { id: SystemRandom.uuid(), device_code: random(), user_code: random(), expires_at: far, ..device };
    requests.insert_pushed(request.clone()).await.unwrap();
    requests.insert_device(device.clone()).await.unwrap();
    assert_eq!(sweep(NOW).await.1, [0, 0]);
    assert!(fixture.services.delete(&Key::Id(fixture.service)).await.unwrap());
    assert_eq!(requests.find_user_code(device.user_code, waiting.plugin, NOW).await.unwrap(), None);
    let global = DeviceCode { service_id: None, ..device.clone() };
    requests.insert_device(global.clone()).await.unwrap();
    assert!(fixture.credentials.delete(&Key::Id(fixture.credential)).await.unwrap());
    assert_eq!(requests.find_user_code(device.user_code, waiting.plugin, NOW).await.unwrap(), None);
    let taken = requests.take_pushed(request.reference, fixture.credential, waiting.plugin, NOW).await;
    assert_eq!(taken.unwrap(), None);
    assert_eq!(requests.insert_device(global).await.unwrap(), Outcome::Lost, "its client is gone");
    assert_eq!(requests.insert_pushed(request).await.unwrap(), Outcome::Lost);
}
