//! The outage drill, with a store that really goes away and comes back.

use std::fs;

use tollgate_load::outcome::{Outage, Outcome, Stretch};
use tollgate_tests::postgres::Database;
use tollgate_tests::{Forwarder, Store};
use url::Url;

use crate::alone;
use crate::program::result;
use crate::world::{Running, World};

/// The stretches of one kind of request, in order of time.
fn stretches<'o>(outage: &'o Outage, kind: &str) -> Vec<&'o Stretch> {
    outage.stretches.iter().filter(|stretch| stretch.kind == kind).collect()
}

fn answers<'o>(outage: &'o Outage, kind: &str) -> Vec<&'o str> {
    stretches(outage, kind).iter().map(|stretch| stretch.answer.as_str()).collect()
}

fn accepted(outcome: &Outcome, kind: &str) -> u64 {
    outcome.phases.iter().filter(|phase| phase.name == kind).map(|phase| phase.summary.statuses[&200]).sum()
}

/// A gateway, and the way to its store.
struct Drill {
    database: Database,
    world: World,
    way: Forwarder,
    /// Where the way leads.
    target: String,
}

impl Drill {
    async fn prepare(settings: &[(&str, &str)]) -> Self {
        let database = Database::create();
        let mut url = Url::parse(&database.url()).unwrap();
        let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let way = Forwarder::to(target.clone()).await;
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(way.address.port())).unwrap();
        let settings = [settings, &[("TOLLGATE_DATABASE_URL", url.as_str())]].concat();
        let world = World::on(Store::Postgres, &settings).await;
        assert_eq!(world.provision("220", "0").code, Some(0));
        Self { database, world, way, target }
    }
}

/// Waits until the cache is not trusted any more, and for another two seconds.
fn last_for_two_seconds(running: &Running) {
    for what in ["the cache's end", "a second without the store", "another"] {
        running.until(what, |line| line.contains(" 503: ") && !line.contains(" 200: "));
    }
}

fn start(world: &World, more: &[&str]) -> Running {
    let (admin, proxy) = (world.gateway.addresses.admin.to_string(), format!("http://{}", world.gateway.http));
    let arguments = ["run", "outage", "--admin", &admin, "--proxy", &proxy, "--no-tui", "--json", "r.json"];
    Running::start(world.folder.path(), &[&arguments[..], &["--warm-up", "2s"], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_is_told_from_its_beginning_to_its_end() {
    let _turn = alone();
    let Drill { database: _database, world, way, target } = Drill::prepare(&[]).await;
    let address = way.address;
    let running = start(&world, &["--html", "r.html", "--duration", "16s"]);
    running.until("the third second", |line| line.starts_with("   3 s"));
    way.cut().await;
    last_for_two_seconds(&running);
    let _way = Forwarder::listening(address, target).await;
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let outcome = result(&world.folder.path().join("r.json"));
    let outage = outcome.outage.clone().unwrap();
    for kind in ["cached", "uncached", "issue"] {
        assert_eq!(answers(&outage, kind), ["200", "503", "200"], "{kind}: {outage:?}");
    }
    // Not made by this gateway, as their checksum tells without the store.
    assert_eq!(answers(&outage, "random_token"), ["401"], "{outage:?}");

    let (cached, uncached) = (stretches(&outage, "cached"), stretches(&outage, "uncached"));
    // The cut was after the third second. What is cached outlives it by the gateway's bound of one
    // second since it last heard of the store, which it asks four times a second.
    assert!(cached[0].to > 3.5 && cached[0].to > uncached[0].to, "{outage:?}");
    assert!(uncached[1].from >= 3.0 && uncached[1].from < cached[1].from, "{outage:?}");
    // The first refusal of what was not cached ends its acceptance, until the store is back.
    assert!(uncached[0].to < uncached[1].from + 0.1 && uncached[2].from > cached[1].from + 2.0, "{outage:?}");
    let trouble = outage.trouble.unwrap();
    assert!(trouble.recovered && trouble.from >= 3.0 && trouble.to < 16.0, "{outage:?}");

    // Whose request each of them was has been checked, and each refusal's Retry-After.
    assert_eq!((outcome.checks.wrong, outcome.total.failures()), (0, 0), "{outcome:?}");
    let accepted = accepted(&outcome, "cached") + accepted(&outcome, "uncached");
    assert_eq!(outcome.checks.identities_checked, accepted);

    assert!(ended.stdout.contains("each kind of them was served again after that"), "{ended:?}");
    let page = fs::read_to_string(world.folder.path().join("r.html")).unwrap();
    assert!(page.contains("What was answered when") && page.contains("uncached 503"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_is_an_outage_too_and_keeps_nobody_waiting_for_ever() {
    let _turn = alone();
    let bounds = [("TOLLGATE_DATABASE_ACQUIRE_TIMEOUT", "500ms"), ("TOLLGATE_DATABASE_STATEMENT_TIMEOUT", "500ms")];
    let Drill { database: _database, world, way, .. } = Drill::prepare(&bounds).await;
    let running = start(&world, &["--rate", "100", "--duration", "20s"]);
    running.until("the third second", |line| line.starts_with("   3 s"));
    way.block();
    last_for_two_seconds(&running);
    way.unblock();
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let outcome = result(&world.folder.path().join("r.json"));
    let outage = outcome.outage.clone().unwrap();
    for kind in ["cached", "uncached", "issue"] {
        assert_eq!(answers(&outage, kind), ["200", "503", "200"], "{kind}: {outage:?}");
    }
    assert_eq!(answers(&outage, "random_token"), ["401"], "{outage:?}");
    assert!(outage.trouble.unwrap().recovered, "{outage:?}");
    // Every request was answered, each refusal with Retry-After, each 200 with its own identity, and
    // none had to wait for longer than the gateway's bounds on the store, twice.
    assert_eq!((outcome.checks.wrong, outcome.total.failures()), (0, 0), "{outcome:?}");
    assert!(outcome.total.latency.max < 3e6, "{outcome:?}");
}
