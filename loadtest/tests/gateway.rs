//! Against the real gateway: everything provisioned works, is measured, and is removed.

use tollgate_tests::{Gateway, Store};

use crate::alone;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_provisioned_is_measured_checked_and_removed() {
    let _turn = alone();
    let world = World::start().await;
    world.gateway.create("/consumers", serde_json::json!({"username": "somebody-else"})).await;
    // An interrupted provisioning resumes.
    assert_eq!(world.provision("10", "0").code, Some(0));
    let ended = world.provision("100", "20");
    assert!(ended.stdout.contains("5 credentials and 100 tokens"), "{ended:?}");
    assert_eq!((world.count("/oauth2_tokens").await, world.count("/consumers").await), (100, 4));
    let other = world.call(&["provision", "--consumers", "9", "--tokens", "1"]);
    assert!(other.code == Some(2) && other.stderr.contains("belongs to another provisioning"), "{other:?}");

    let (_, warm) = world.run("warm", &[]);
    assert!(warm.checks.identities_checked > 0, "{:?}", warm.checks);
    assert_eq!(warm.total.statuses.keys().collect::<Vec<_>>(), [&200]);
    let (_, zipf) = world.run("zipf", &["--rate", "200"]);
    assert_eq!(zipf.total.responses, 400);
    assert!(zipf.seconds.iter().any(|second| second.cache_hit_ratio.is_some()), "{zipf:?}");
    world.run("cold-start", &["--rate", "100"]);
    let (_, flood) = world.run("flood", &["--rate", "300"]);
    assert!(flood.phases.iter().any(|phase| phase.name == "random_token" && phase.summary.statuses.contains_key(&401)));
    world.run("issue-storm", &[]);
    world.run("refresh-storm", &[]);
    // Each refresh token is for one use: the second run uses those that the first one got.
    world.run("refresh-storm", &[]);
    let (ended, outage) = world.run("outage", &["--rate", "100"]);
    let calm = outage.outage.unwrap();
    assert!(calm.trouble.is_none() && calm.stretches.len() == 4, "{calm:?}");
    assert!(ended.stdout.contains("was the store stopped at all?"), "{ended:?}");
    let https = format!("https://{}", world.gateway.https);
    world.run("warm", &["--proxy", &https, "--insecure"]);
    let (_, http2) = world.run("warm", &["--proxy", &https, "--insecure", "--http2", "--streams", "4"]);
    assert!(http2.checks.identities_checked > 0);

    let (ended, revocation) = world.run("revocation", &["--rate", "50"]);
    let revocation = revocation.revocation.unwrap();
    assert!(revocation.revoked >= 10 && revocation.never_refused == 0, "{ended:?} {revocation:?}");
    // A revocation is in force when its response is sent: nothing sent after that is accepted.
    assert!(revocation.accepted_for.max < 1.0, "{revocation:?}");
    // Later runs do not use revoked tokens, and the next provisioning replaces them.
    let (_, after) = world.run("zipf", &["--rate", "400"]);
    assert_eq!(after.total.statuses.keys().collect::<Vec<_>>(), [&200]);
    let ended = world.provision("100", "20");
    assert!(ended.stdout.contains("5 credentials and 100 tokens"), "{ended:?}");

    // Another gateway has none of the entities, and the file stays.
    let stranger = Gateway::on(Store::Sqlite, &[]).await;
    let astray = world.call(&["cleanup", "--admin", stranger.addresses.admin.as_str()]);
    assert!(astray.code == Some(2) && astray.stderr.contains("is it the right Admin API?"), "{astray:?}");
    let admin = world.gateway.addresses.admin.to_string();
    let cleanup = world.call(&["cleanup", "--admin", &admin]);
    assert_eq!(cleanup.code, Some(0), "{cleanup:?}");
    for (path, left) in
        [("/oauth2_tokens", 0), ("/oauth2", 0), ("/plugins", 0), ("/routes", 0), ("/services", 0), ("/consumers", 1)]
    {
        assert_eq!(world.count(path).await, left, "{path}");
    }
    assert!(!world.folder.path().join("tollgate-load.state").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_rate_that_keeps_a_bound_is_found() {
    let _turn = alone();
    let world = World::start().await;
    assert_eq!(world.provision("5", "0").code, Some(0));
    let scenario = "name: small\nabout: a search that is short\nwarm_up: 0s\nconnections: 16\n\
                    load: {search: {p99: 2s, from: 20, to: 80, trial: 1s}}\nmix: [{send: token}]\n";
    std::fs::write(world.folder.path().join("small.yaml"), scenario).unwrap();
    let (ended, outcome) = world.run("small.yaml", &[]);
    let saturation = outcome.saturation.unwrap();
    assert_eq!(saturation.rate, Some(80.0), "{ended:?}");
    assert_eq!(saturation.trials.len(), 3);
    assert!(ended.stdout.contains("80 requests per second kept p99 under 2.00 s"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_day_has_all_its_steps_and_kinds() {
    let _turn = alone();
    let world = World::start().await;
    assert_eq!(world.provision("60", "20").code, Some(0));
    // A day of ten seconds, at a twentieth of its rates.
    let (ended, day) = world.run("mixed-day", &["--duration", "10s", "--rate-factor", "0.05"]);
    let shape: Vec<_> =
        day.steps.iter().map(|step| (step.name.as_str(), step.duration, step.summary.responses)).collect();
    assert_eq!(shape, [("morning", 2.0, 20), ("busy", 3.0, 225), ("peak", 2.0, 300), ("evening", 3.0, 30)]);
    assert_eq!((day.total.responses, day.seconds.len(), day.checks.wrong), (575, 10, 0));
    // Rates change on time, to the second, as far as a busy machine allows.
    let rate = |from: usize, to: usize| {
        let responses: u64 = day.seconds[from..to].iter().map(|second| second.summary.responses).sum();
        responses as f64 / (to - from) as f64
    };
    let rates = [rate(0, 2), rate(2, 5), rate(5, 7), rate(7, 10)];
    for (found, wanted) in rates.into_iter().zip([10.0, 75.0, 150.0, 10.0]) {
        assert!((found - wanted).abs() <= 0.1 * wanted + 2.0, "{rates:?}");
    }
    let kinds: Vec<&str> = day.phases.iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(kinds, ["issue", "random_token", "refresh", "token"], "{day:?}");
    assert_eq!(day.total.statuses.keys().collect::<Vec<_>>(), [&200, &401]);
    assert!(ended.stdout.contains("peak, 2 s: 150 per second of 150"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_third_party_are_provisioned_measured_checked_and_removed() {
    let _turn = alone();
    let world = World::start().await;
    let admin = world.gateway.addresses.admin.to_string();
    for kind in ["introspection", "rs256", "es256", "eddsa"] {
        // An interrupted provisioning resumes, with the same authority.
        assert_eq!(world.provision_third_party(kind, "10").code, Some(0), "{kind}");
        let ended = world.provision_third_party(kind, "1100");
        assert!(ended.stdout.contains("3 credentials and 1100 tokens"), "{kind}: {ended:?}");
        let (_, mixed) = world.run("third-party", &["--rate", "100"]);
        let kinds: Vec<&str> = mixed.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(kinds, ["cold", "warm", "zipf"], "{kind}: {mixed:?}");
        assert!(mixed.checks.identities_checked > 0, "{kind}: {:?}", mixed.checks);
        assert_eq!(mixed.total.statuses.keys().collect::<Vec<_>>(), [&200]);
        if kind == "introspection" {
            world.run("warm", &[]);
            let (_, flood) = world.run("flood", &["--rate", "100"]);
            assert_eq!(flood.total.statuses.keys().collect::<Vec<_>>(), [&200, &401]);
        }
        let ended = world.call(&["run", "issue-storm", "--admin", &admin]);
        let refused = "`issue` needs tokens that the gateway issues, and those in the state file are of a third party";
        assert!(ended.code == Some(2) && ended.stderr.contains(refused), "{ended:?}");
        let ended = world.call(&["cleanup", "--admin", &admin]);
        assert_eq!(ended.code, Some(0), "{kind}: {ended:?}");
        for path in ["/plugins", "/routes", "/services", "/consumers"] {
            assert_eq!(world.count(path).await, 0, "{kind}: {path}");
        }
    }
}
