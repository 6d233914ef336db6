//! The outage drill, with a store that becomes unreachable and comes back, and with faults that the drill itself brings
//! about.

use std::fs;
use std::time::Duration;

use tollgate_load::outcome::{Outage, Outcome, Step, Stretch};
use tollgate_tests::postgres::Database;
use tollgate_tests::{Forwarder, Store, program};
use url::Url;

use crate::alone;
use crate::program::{call, result};
use crate::world::{Running, World};

/// The stretches of one kind of request, in order of time.
fn stretches<'o>(outage: &'o Outage, kind: &str) -> Vec<&'o Stretch> {
    outage.stretches.iter().filter(|stretch| stretch.kind == kind).collect()
}

fn endings<'o>(outage: &'o Outage, kind: &str) -> Vec<&'o str> {
    stretches(outage, kind).iter().map(|stretch| stretch.ending.as_str()).collect()
}

fn accepted(outcome: &Outcome, kind: &str) -> u64 {
    outcome.phases.iter().filter(|phase| phase.name == kind).map(|phase| phase.summary.statuses[&200]).sum()
}

/// A gateway, and the connection to its store.
struct Drill {
    database: Database,
    world: World,
    forwarder: Forwarder,
    /// The address of the store.
    target: String,
}

impl Drill {
    async fn prepare(settings: &[(&str, &str)]) -> Self {
        let database = Database::create();
        let mut url = Url::parse(&database.url()).unwrap();
        let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let forwarder = Forwarder::to(target.clone()).await;
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(forwarder.address.port())).unwrap();
        // Nothing is served on cached facts alone, so that an outage shows.
        let own = [("TOLLGATE_DATABASE_URL", url.as_str()), ("TOLLGATE_OUTAGE_SERVE_CACHED_FOR", "0s")];
        let settings = [settings, &own].concat();
        let world = World::on(Store::Postgres, &settings).await;
        assert_eq!(world.provision("220", "0").code, Some(0));
        Self { database, world, forwarder, target }
    }
}

/// Whether this is the line of a second, from the third on, in which nobody waited for a second: then requests of every
/// kind have been served before the store is broken. A machine that is too busy for that all the time gets no more than
/// six seconds.
fn is_calm(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let second = words.next().and_then(|word| word.parse::<u32>().ok()).unwrap_or_default();
    let mut slowest = words.skip_while(|word| *word != "p99").skip(1);
    let (value, unit) = (slowest.next().and_then(|word| word.parse::<f64>().ok()), slowest.next());
    second >= 3 && (second >= 6 || matches!((value, unit), (Some(_), Some("µs" | "ms"))))
}

/// Waits until the cache is no longer used, and for another two seconds.
fn last_for_two_seconds(running: &Running) {
    for what in ["the end of the cache", "a second without the store", "another"] {
        running.until(what, |line| line.contains(" 503: ") && !line.contains(" 200: "));
    }
}

fn start(world: &World, more: &[&str]) -> Running {
    let (admin, proxy) = (world.gateway.addresses.admin.to_string(), format!("http://{}", world.gateway.http));
    let arguments = ["run", "outage", "--admin", &admin, "--proxy", &proxy, "--no-tui", "--json", "r.json"];
    Running::start(world.folder.path(), &[&arguments[..], &["--warm-up", "2s"], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_is_reported_from_beginning_to_end() {
    let _turn = alone();
    let Drill { database: _database, world, forwarder, target } = Drill::prepare(&[]).await;
    let address = forwarder.address;
    let running = start(&world, &["--html", "r.html", "--rate", "100", "--duration", "20s"]);
    running.until("a calm second", is_calm);
    forwarder.cut().await;
    last_for_two_seconds(&running);
    let _forwarder = Forwarder::listening(address, target).await;
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let outcome = result(&world.folder.path().join("r.json"));
    let outage = outcome.outage.clone().unwrap();
    for kind in ["cached", "uncached", "issue"] {
        assert_eq!(endings(&outage, kind), ["200", "503", "200"], "{kind}: {outage:?}");
    }
    // Their checksum shows, without the store, that this gateway did not issue them.
    assert_eq!(endings(&outage, "random_token"), ["401"], "{outage:?}");

    let (cached, uncached) = (stretches(&outage, "cached"), stretches(&outage, "uncached"));
    // The cut was after the third second. Cached tokens are accepted for up to one second after the gateway
    // last reached the store, which it polls four times a second.
    assert!(cached[0].to > 3.5 && cached[0].to > uncached[0].to, "{outage:?}");
    assert!(uncached[1].from >= 3.0 && uncached[1].from < cached[1].from, "{outage:?}");
    // After the first 503, uncached tokens are not accepted until the store is back.
    assert!(uncached[0].to < uncached[1].from + 0.1 && uncached[2].from > cached[1].from + 2.0, "{outage:?}");
    let trouble = outage.trouble.unwrap();
    assert!(trouble.recovered && trouble.from >= 3.0 && trouble.to < 20.0, "{outage:?}");

    // Each 200 had its identity checked, and each 503 its Retry-After.
    assert_eq!((outcome.checks.wrong, outcome.total.failures()), (0, 0), "{outcome:?}");
    let accepted = accepted(&outcome, "cached") + accepted(&outcome, "uncached");
    assert_eq!(outcome.checks.identities_checked, accepted);

    assert!(ended.stdout.contains("every kind of request was served again afterwards"), "{ended:?}");
    let page = fs::read_to_string(world.folder.path().join("r.html")).unwrap();
    assert!(page.contains("Responses over time") && page.contains("uncached 503"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_is_an_outage_too_and_waits_are_bounded() {
    let _turn = alone();
    let bounds = [("TOLLGATE_DATABASE_ACQUIRE_TIMEOUT", "500ms"), ("TOLLGATE_DATABASE_STATEMENT_TIMEOUT", "500ms")];
    let Drill { database: _database, world, forwarder, .. } = Drill::prepare(&bounds).await;
    let running = start(&world, &["--rate", "100", "--duration", "20s"]);
    running.until("a calm second", is_calm);
    forwarder.block();
    last_for_two_seconds(&running);
    forwarder.unblock();
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let outcome = result(&world.folder.path().join("r.json"));
    let outage = outcome.outage.clone().unwrap();
    for kind in ["cached", "uncached", "issue"] {
        assert_eq!(endings(&outage, kind), ["200", "503", "200"], "{kind}: {outage:?}");
    }
    assert_eq!(endings(&outage, "random_token"), ["401"], "{outage:?}");
    assert!(outage.trouble.unwrap().recovered, "{outage:?}");
    // Every request got a response, each 503 with Retry-After and each 200 with the right identity, and none waited
    // longer than twice the gateway's limits on the store.
    assert_eq!((outcome.checks.wrong, outcome.total.failures()), (0, 0), "{outcome:?}");
    assert!(outcome.total.latency.max < 3e6, "{outcome:?}");
}

fn statuses(step: &Step, kind: &str) -> Vec<u16> {
    let phase = step.kinds.iter().find(|phase| phase.name == kind);
    phase.unwrap_or_else(|| panic!("no {kind}: {step:?}")).summary.statuses.keys().copied().collect()
}

#[test]
fn a_fault_of_a_store_of_its_own_is_judged_by_cached_traffic() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    // As people give it: relative to the folder they are in.
    std::os::unix::fs::symlink(program("tollgate"), folder.path().join("gateway")).unwrap();
    let gateway = "./gateway";
    let ended = call(
        folder.path(),
        &[
            &["run", "outage", "--gateway", gateway, "--faults", "cut", "--duration", "12s", "--warm-up", "1s"][..],
            &["--rate", "100", "--no-tui", "--json", "r.json", "--html", "r.html"],
        ]
        .concat(),
    );
    let outcome = result(&folder.path().join("r.json"));
    let names: Vec<&str> = outcome.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["cut: before", "cut: during", "cut: after"], "{ended:?}");
    let [before, during, after] = &outcome.steps[..] else { panic!("{ended:?}") };
    // On a busy machine the first and the last requests of a step may be sent late.
    assert!(statuses(before, "issue").contains(&200) && statuses(before, "uncached").contains(&200), "{ended:?}");
    assert!(statuses(during, "issue").contains(&503), "{ended:?}");
    assert!(statuses(after, "issue").contains(&200), "{ended:?}");
    let faults = outcome.faults.clone().unwrap();
    let [cut] = &faults.rows[..] else { panic!("{faults:?}") };
    assert!(cut.name == "cut" && cut.others_unserved > 0 && cut.before.p99 > 0.0, "{faults:?}");
    assert_eq!((ended.code, outcome.is_valid()), (Some(i32::from(!faults.held)), faults.held), "{ended:?}");
    assert!(ended.stdout.contains("cached tokens while the store is broken; normal p99"), "{ended:?}");
    assert!(fs::read_to_string(folder.path().join("r.html")).unwrap().contains("while the store is broken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_a_given_gateway_is_broken_and_repaired_by_commands() {
    let _turn = alone();
    let world = World::on(Store::Sqlite, &[]).await;
    assert_eq!(world.provision("220", "0").code, Some(0));
    let commands = ["--break", "touch broken", "--repair", "touch repaired; exit 3", "--rate", "50"];
    let (admin, proxy) = (world.gateway.addresses.admin.to_string(), format!("http://{}", world.gateway.http));
    let run =
        ["run", "outage", "--admin", &admin, "--proxy", &proxy, "--no-tui", "--warm-up", "0s", "--duration", "3s"];
    let ended = world.call(&[&run[..], &commands].concat());
    let made = |name: &str| fs::metadata(world.folder.path().join(name)).unwrap().modified().unwrap();
    let between = made("repaired").duration_since(made("broken")).unwrap();
    assert!(between >= Duration::from_millis(900), "{between:?}");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("given: `touch repaired; exit 3` ended with exit status: 3"), "{ended:?}");
}
