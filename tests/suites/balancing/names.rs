//! Targets and services by name: DNS that changes, fails and hangs.

use std::net::{Ipv4Addr, SocketAddr};

use tollgate_tests::{Mood, NameServer};

use super::*;

/// A target at another address of this machine.
async fn at(name: &str, last: u8, port: u16) -> Target {
    Target::at(name, SocketAddr::from(([127, 0, 0, last], port))).await
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

async fn gateway_with(server: &NameServer) -> Gateway {
    Gateway::on(Store::Sqlite, &[("TOLLGATE_DNS_NAMESERVERS", &server.address.to_string())]).await
}

/// An upstream of targets that are names.
async fn named(gateway: &Gateway, targets: &[String]) {
    balanced(gateway, "api", json!({}), &[]).await;
    for target in targets {
        gateway.create("/upstreams/api.upstream/targets", json!({"target": target})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_addresses_of_a_target_and_their_time_to_live() {
    let server = NameServer::start().await;
    let one = at("one", 1, 0).await;
    let port = one.address.port();
    let (two, three) = (at("two", 2, port).await, at("three", 3, port).await);
    server.set_addresses("a.test", 1, &[address(1), address(2)]);
    let gateway = gateway_with(&server).await;
    named(&gateway, &[format!("a.test:{port}")]).await;
    assert_eq!(spread(&gateway, "/api", 8).await, counts([("one", 4), ("two", 4)]));
    let shown = gateway.admin_get("/upstreams/api.upstream/health").await.json();
    assert_eq!(
        (&shown["data"][0]["data"]["dns"], &shown["data"][0]["data"]["weight"]["total"]),
        (&json!("A"), &json!(200))
    );
    server.set_addresses("a.test", 1, &[address(2), address(3)]);
    until("the first address is gone", async || {
        spread(&gateway, "/api", 4).await == counts([("two", 2), ("three", 2)])
    })
    .await;
    server.set_addresses("a.test", 1, &[]);
    until("the name has no address", async || get(&gateway, "/api").await.status == 503).await;
    let shown = gateway.admin_get("/upstreams/api.upstream/health").await.json();
    assert_eq!(shown["data"][0]["health"], json!("DNS_ERROR"));
    assert!(gateway.metric("kong_upstream_target_health", &["state=\"dns_error\""]).await > 0.0);
    server.set_addresses("a.test", 60, &[address(3)]);
    until("it has one again", async || get(&gateway, "/api").await.status == 200).await;
    drop((one, two, three));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_fails_or_hangs_stalls_no_request_that_has_an_address() {
    let server = NameServer::start().await;
    let target = at("one", 1, 0).await;
    server.set_addresses("a.test", 1, &[address(1)]);
    server.set_addresses("plain.test", 1, &[address(1)]);
    let gateway = gateway_with(&server).await;
    named(&gateway, &[format!("a.test:{}", target.address.port())]).await;
    let service = json!({"name": "plain", "host": "plain.test", "port": target.address.port()});
    gateway.create("/services", service).await;
    gateway.create("/services/plain/routes", json!({"paths": ["/plain"]})).await;
    for path in ["/api", "/plain"] {
        get(&gateway, path).await.expect(200);
    }
    for mood in [Mood::Fails, Mood::Silent] {
        server.be(mood);
        let (before, begun) = (server.asked(), Instant::now());
        while begun.elapsed() < Duration::from_millis(2500) || server.asked() == before {
            for path in ["/api", "/plain"] {
                let sent = Instant::now();
                assert_eq!(get(&gateway, path).await.expect(200).body, "one");
                assert!(sent.elapsed() < Duration::from_secs(2), "{mood:?}: {:?}", sent.elapsed());
            }
            assert!(begun.elapsed() < PATIENCE, "nobody asks");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    server.be(Mood::Answers);
    server.set_addresses("a.test", 60, &[address(2)]);
    let _moved = at("moved", 2, target.address.port()).await;
    until("what it says counts again", async || get(&gateway, "/api").await.body == "moved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn srv_records_give_ports_and_weights_and_names_if_the_upstream_wants_them() {
    let server = NameServer::start().await;
    let (one, two) = (at("one", 1, 0).await, at("two", 1, 0).await);
    server.set_addresses("one.test", 60, &[address(1)]);
    server.set_addresses("two.test", 60, &[address(1)]);
    let servers = [(30, one.address.port(), "one.test"), (10, two.address.port(), "two.test")];
    server.set_servers("api.test", 60, &servers);
    let gateway = gateway_with(&server).await;
    named(&gateway, &["api.test:1".to_owned()]).await;
    assert_eq!(spread(&gateway, "/api", 8).await, counts([("one", 6), ("two", 2)]));
    assert!(one.last_head().contains(&format!("api.test:{}", one.address.port())), "{}", one.last_head());
    gateway.change("/upstreams/api.upstream", json!({"use_srv_name": true})).await;
    spread(&gateway, "/api", 4).await;
    assert!(one.last_head().contains(&format!("one.test:{}", one.address.port())), "{}", one.last_head());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_metadata_or_to_the_gateway_itself_gets_no_request_and_no_probe() {
    let server = NameServer::start().await;
    let target = at("one", 1, 0).await;
    server.set_addresses("evil.test", 1, &[Ipv4Addr::new(169, 254, 169, 254), address(1)]);

    let probes = json!({"healthchecks": {"active": {
        "http_path": "/probe", "healthy": {"interval": 0.1, "successes": 1}, "unhealthy": {"interval": 0.1, "tcp_failures": 1},
    }}});
    let gateway = gateway_with(&server).await;
    named(&gateway, &[format!("evil.test:{}", target.address.port())]).await;
    gateway.change("/upstreams/api.upstream", probes.clone()).await;
    assert_eq!(spread(&gateway, "/api", 4).await, counts([("one", 4)]));
    server.set_addresses("evil.test", 60, &[Ipv4Addr::new(169, 254, 169, 254)]);
    until("nothing is left", async || get(&gateway, "/api").await.status == 503).await;
    // The system connects 0.0.0.0 to this machine: a target sees who does. Another gateway is permitted to.
    server.set_addresses("any.test", 60, &[Ipv4Addr::UNSPECIFIED]);
    server.set_addresses("own.test", 60, &[address(1)]);
    let (refused, reached) = (at("refused", 1, 0).await, at("reached", 1, 0).await);
    let settings = [
        ("TOLLGATE_DNS_NAMESERVERS", server.address.to_string()),
        ("TOLLGATE_PROXY_ALLOWED_UPSTREAM_ADDRESSES", "0.0.0.0/8, 127.0.0.0/8".to_owned()),
    ];
    let other = Gateway::on(Store::Sqlite, &settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    for (gateway, watched) in [(&gateway, &refused), (&other, &reached)] {
        let own = gateway.addresses.admin.port().unwrap();
        for (name, port) in [("any", watched.address.port()), ("own", own)] {
            balanced(gateway, name, probes.clone(), &[]).await;
            let target = json!({"target": format!("{name}.test:{port}")});
            gateway.create(&format!("/upstreams/{name}.upstream/targets"), target).await;
        }
    }
    until("whoever is permitted to probes it", async || reached.probes() > 3).await;
    until("whoever is permitted to reaches its own Admin API", async || get(&other, "/own").await.status != 503).await;
    for name in ["any", "own"] {
        let reply = get(&gateway, &format!("/{name}")).await;
        let text = "failure to get a peer from the ring-balancer";
        assert_eq!((reply.status, reply.json()["message"].clone()), (503, json!(text)), "{name}");
        let shown = gateway.admin_get(&format!("/upstreams/{name}.upstream/health")).await.expect(200).json();
        assert_eq!(shown["data"][0]["data"]["addresses"], json!([]), "{name}: there is nothing to probe");
    }
    assert_eq!(refused.connections(), 0);
}
