//! Calls to a server that fails, is too slow, and recovers.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::limits::BreakerLimits;
use crate::testing::Authority;
use crate::{Class, Error, Tls};

/// Opens after two failures in a row, and stays open for a moment only.
const BRIEF: BreakerLimits = BreakerLimits {
    in_a_row: 2,
    calls: 4,
    window: Duration::from_secs(60),
    shortest: Duration::from_millis(20),
    longest: Duration::from_millis(20),
    forget: Duration::from_secs(60),
};

/// The same, and stays open for the whole test.
const LASTING: BreakerLimits =
    BreakerLimits { shortest: Duration::from_secs(600), longest: Duration::from_secs(600), ..BRIEF };

fn fixture_with(breaker: BreakerLimits) -> Fixture {
    Fixture::new(Limits { breaker, ..Limits::default() })
}

/// A server that closes each connection under its request until it is told to work. Counts requests.
struct Unsteady {
    server: Server,
    works: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl Unsteady {
    async fn start() -> Self {
        let (works, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (Arc::clone(&works), Arc::clone(&requests));
        let server = Server::start(None, move |_, mut stream| {
            let (told, counted) = (Arc::clone(&told), Arc::clone(&counted));
            async move {
                while read_request(&mut stream).await.is_some() {
                    counted.fetch_add(1, Ordering::SeqCst);
                    if !told.load(Ordering::SeqCst) {
                        return;
                    }
                    stream.write_all(OK).await.unwrap();
                }
            }
        })
        .await;
        Self { server, works, requests }
    }

    fn url(&self) -> String {
        self.server.url("http", "/token?secret")
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn metric(&self, state: i64) -> String {
        let port = self.server.address.port();
        format!(r#"tollgate_outbound_breaker_state{{authority="http://127.0.0.1:{port}"}} {state}"#)
    }
}

async fn fail(fixture: &Fixture, url: &str, times: usize) {
    for _ in 0..times {
        let error = fixture.profile().send(get(url)).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
    }
}

/// Sends until a call is not refused by the breaker.
async fn after_the_open_period(profile: &Profile, url: &str) -> Result<http::Response<Bytes>, Error> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match profile.send(get(url)).await {
            Err(Error::Open { retry_after, .. }) => {
                assert!(std::time::Instant::now() < deadline);
                tokio::time::sleep(retry_after).await;
            }
            ended => return ended,
        }
    }
}

#[tokio::test]
async fn after_failures_in_a_row_calls_fail_at_once_and_others_are_not_affected() {
    let fixture = fixture_with(LASTING);
    let (server, other) = (Unsteady::start().await, Unsteady::start().await);
    fixture.assert_no_breakers();
    fail(&fixture, &server.url(), 1).await;
    fixture.assert_metric(&server.metric(0));
    fail(&fixture, &server.url(), 1).await;
    fixture.assert_metric(&server.metric(2));

    let refused = fixture.profile().send(get(&server.url())).await.unwrap_err();
    let Error::Open { retry_after, .. } = refused else { panic!("{refused}") };
    assert!(retry_after > Duration::from_secs(400) && retry_after < Duration::from_secs(800), "{retry_after:?}");
    assert_eq!((refused.class(), refused.retry_after()), (Class::Unavailable, Some(retry_after)));
    let told = format!(
        "{}: not called, since recent calls failed or were too slow; next attempt in {retry_after:?}",
        server.server.url("http", "/token")
    );
    assert_eq!(refused.to_string(), told);
    assert_eq!(server.requests(), 2);
    fixture.assert_metric(r#"tollgate_outbound_requests_total{outcome="open",plugin="test"} 1"#);

    other.works.store(true, Ordering::SeqCst);
    assert_eq!(fixture.profile().send(get(&other.url())).await.unwrap().status(), StatusCode::OK);
    fixture.assert_metric(&other.metric(0));
}

#[tokio::test]
async fn a_server_that_recovers_is_called_again_after_a_probe() {
    let fixture = fixture_with(BRIEF);
    let server = Unsteady::start().await;
    fail(&fixture, &server.url(), 2).await;
    let probe = after_the_open_period(&fixture.profile(), &server.url()).await.unwrap_err();
    assert!(matches!(probe, Error::Lost { .. }), "{probe}");
    fixture.assert_metric(&server.metric(2));
    server.works.store(true, Ordering::SeqCst);
    let response = after_the_open_period(&fixture.profile(), &server.url()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    fixture.assert_metric(&server.metric(0));
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn one_call_at_a_time_is_the_probe() {
    let fixture = fixture_with(BRIEF);
    let gate = Arc::new(Semaphore::new(0));
    let kept = Arc::clone(&gate);
    let (tell, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    // Fails twice, then responds when it is told to.
    let server = Server::start(None, move |nth, mut stream| {
        let (gate, tell) = (Arc::clone(&kept), tell.clone());
        async move {
            while read_request(&mut stream).await.is_some() && nth > 1 {
                tell.send(()).unwrap();
                gate.acquire().await.unwrap().forget();
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let url = server.url("http", "/");
    fail(&fixture, &url, 2).await;
    let (profile, to) = (fixture.profile(), url.clone());
    let probe = tokio::spawn(async move { after_the_open_period(&profile, &to).await });
    arrived.recv().await.unwrap();
    fixture
        .assert_metric(&format!(r#"tollgate_outbound_breaker_state{{authority="{}"}} 1"#, url.trim_end_matches('/')));
    for refused in futures::future::join_all((0..8).map(|_| async { fixture.profile().send(get(&url)).await })).await {
        assert!(matches!(refused, Err(Error::Open { .. })), "{refused:?}");
    }
    // A probe that is given up makes room for the next.
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    gate.add_permits(8);
    let response = after_the_open_period(&fixture.profile(), &url).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn connections_refused_and_broken_responses_open_the_breaker() {
    let fixture = fixture_with(LASTING);
    let closed = Server::start(None, |_, _| async {}).await;
    let gone = closed.url("http", "/");
    drop(closed);
    let (broken, _) = server_that_says("nonsense\r\n\r\n").await;
    for url in [gone, broken.url("http", "/")] {
        // A listener that was dropped may still accept for a moment.
        for _ in 0..2 {
            let error = fixture.profile().send(get(&url)).await.unwrap_err();
            assert!(!matches!(error, Error::Open { .. }), "{error}");
        }
        let error = fixture.profile().send(get(&url)).await.unwrap_err();
        assert!(matches!(error, Error::Open { .. }), "{error}");
    }
}

#[tokio::test]
async fn timeouts_open_the_breaker() {
    let fixture = fixture_with(LASTING);
    let server = Server::start(None, |_, mut stream| async move { while read_request(&mut stream).await.is_some() {} });
    let server = server.await;
    let profile = fixture.profile().timeout(Duration::from_millis(20));
    for _ in 0..2 {
        let error = profile.send(get(&server.url("http", "/"))).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
    let error = profile.send(get(&server.url("http", "/"))).await.unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error}");
}

#[tokio::test]
async fn sustained_slowness_opens_the_breaker() {
    let fixture = fixture_with(LASTING);
    let server = Server::start(None, |_, mut stream| async move {
        while read_request(&mut stream).await.is_some() {
            tokio::time::sleep(Duration::from_millis(60)).await;
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let url = server.url("http", "/");
    let patient = fixture.profile().timeout(Duration::from_secs(60));
    for _ in 0..5 {
        assert_eq!(patient.send(get(&url)).await.unwrap().status(), StatusCode::OK);
    }
    let fixture = fixture_with(LASTING);
    let hasty = fixture.profile().timeout(Duration::from_millis(100));
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(hasty.send(get(&url)).await);
    }
    assert!(matches!(ended.pop(), Some(Err(Error::Open { .. }))), "{ended:?}");
}

#[tokio::test]
async fn a_response_of_any_status_is_no_failure() {
    for status in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests", "404 Not Found"] {
        let fixture = fixture_with(LASTING);
        let (server, requests) = server_that_says(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
        for _ in 0..5 {
            assert!(fixture.profile().send(get(&server.url("http", "/"))).await.is_ok(), "{status}");
        }
        assert_eq!(requests.load(Ordering::SeqCst), 5);
    }
}

#[tokio::test]
async fn what_concerns_one_profile_or_request_alone_is_no_failure() {
    let fixture = fixture_with(LASTING);
    let (authority, other) = (Authority::new(), Authority::new());
    let acceptor = authority.acceptor(&["127.0.0.1"], b"\x08http/1.1");
    let server = Server::start(Some(acceptor), |_, stream| respond_to_all(stream)).await;
    let trusting = |authority: &Authority| fixture.profile().tls(Tls::authorities(&authority.pem()).unwrap());
    let url = server.url("https", "/");
    for _ in 0..3 {
        let error = trusting(&other).send(get(&url)).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error}");
        let error = trusting(&authority).max_body(1).send(get(&url)).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    assert_eq!(trusting(&authority).send(get(&url)).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn overload_is_shed_and_does_not_open_the_breaker() {
    let fixture = Fixture::new(Limits { calls: 1, queue: 4, breaker: LASTING, ..Limits::default() });
    let gate = Arc::new(Semaphore::new(0));
    let kept = Arc::clone(&gate);
    let (tell, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(None, move |_, mut stream| {
        let (gate, tell) = (Arc::clone(&kept), tell.clone());
        async move {
            while read_request(&mut stream).await.is_some() {
                tell.send(()).unwrap();
                gate.acquire().await.unwrap().forget();
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let url = server.url("http", "/");
    let (profile, to) = (fixture.profile(), url.clone());
    let first = tokio::spawn(async move { profile.send(get(&to)).await });
    arrived.recv().await.unwrap();
    let waiting = fixture.profile().timeout(Duration::from_millis(50));
    let ended = futures::future::join_all((0..8).map(|_| waiting.send(get(&url)))).await;
    let shed = |result: &&Result<_, Error>| matches!(result, Err(Error::Overloaded { .. }));
    let waited = |result: &&Result<_, Error>| matches!(result, Err(Error::Timeout { phase: crate::Phase::Queue, .. }));
    assert_eq!((ended.iter().filter(shed).count(), ended.iter().filter(waited).count()), (4, 4), "{ended:?}");
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(fixture.profile().send(get(&url)).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn calls_that_waited_are_not_sent_once_the_breaker_has_opened() {
    let breaker = BreakerLimits { in_a_row: 1, ..LASTING };
    let fixture = Fixture::new(Limits { calls: 1, breaker, ..Limits::default() });
    let server = Unsteady::start().await;
    let url = server.url();
    let profile = fixture.profile();
    let ended = futures::future::join_all((0..5).map(|_| profile.send(get(&url)))).await;
    let open = ended.iter().filter(|result| matches!(result, Err(Error::Open { .. }))).count();
    assert_eq!((open, server.requests()), (4, 1), "{ended:?}");
}

#[tokio::test]
async fn a_failing_authority_is_remembered_without_connections_and_its_metric_ends_with_it() {
    let brief = Duration::from_millis(5);
    let fixture = Fixture::new(Limits { sweep: brief, breaker: LASTING, ..Limits::default() });
    let server = Unsteady::start().await;
    fail(&fixture, &server.url(), 2).await;
    tokio::time::sleep(20 * brief).await;
    let error = fixture.profile().send(get(&server.url())).await.unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error}");

    let forgetful = BreakerLimits { forget: brief, ..BRIEF };
    let fixture = Fixture::new(Limits { sweep: brief, breaker: forgetful, ..Limits::default() });
    fail(&fixture, &server.url(), 2).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while fixture.metrics().contains("tollgate_outbound_breaker_state{") {
        assert!(std::time::Instant::now() < deadline, "{}", fixture.metrics());
        tokio::time::sleep(brief).await;
    }
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).without_time().finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let fixture = fixture_with(BRIEF);
    let server = Unsteady::start().await;
    fail(&fixture, &server.url(), 2).await;
    for _ in 0..3 {
        after_the_open_period(&fixture.profile(), &server.url()).await.unwrap_err();
    }
    server.works.store(true, Ordering::SeqCst);
    after_the_open_period(&fixture.profile(), &server.url()).await.unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("tollgate_http_client")).collect();
    let [opened, closed] = ours[..] else { panic!("{text}") };
    let authority = format!("127.0.0.1:{}", server.server.address.port());
    let expected = format!(
        " WARN tollgate_http_client::breaker: authority is unavailable: calls to it are refused \
         authority=\"http://{authority}\" reason=2 calls in a row failed \
         error=http://{authority}/token: connection lost before the end of the response head; see the server's log"
    );
    assert_eq!(opened, expected);
    let expected = format!(
        " INFO tollgate_http_client::breaker: authority is available again authority=\"http://{authority}\" after="
    );
    assert_eq!(closed.get(..expected.len()), Some(expected.as_str()), "{closed}");
}
