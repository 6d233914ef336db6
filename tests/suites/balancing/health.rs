//! Health checks: passive ones, active ones, and what operators say.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tollgate_tests::raw;

use super::*;

fn passive(unhealthy: Value, healthy: Value) -> Value {
    json!({"healthchecks": {"passive": {"unhealthy": unhealthy, "healthy": healthy}}})
}

fn active(more: Value) -> Value {
    let mut active = json!({
        "http_path": "/probe", "timeout": 2,
        "healthy": {"interval": 0.1, "successes": 2},
        "unhealthy": {"interval": 0.1, "http_failures": 2, "tcp_failures": 2, "timeouts": 2},
    });
    active.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"healthchecks": {"active": active}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_responds_with_failures_gets_no_more_requests() {
    let gateway = Gateway::on_sqlite().await;
    let (one, two) = (Target::start("one").await, Target::start("two").await);
    balanced(&gateway, "api", passive(json!({"http_failures": 3}), json!({})), &[&one, &two]).await;
    one.respond(500);
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(get(&gateway, "/api").await.status == 500);
    }
    assert_eq!((failed, one.requests()), (3, 3), "it is out after three failures");
    assert_eq!(health_of(&gateway, "api", &one).await, "UNHEALTHY");
    assert_eq!(health_of(&gateway, "api", &two).await, "HEALTHY");
    two.respond(503);
    until("two is out", async || get(&gateway, "/api").await.body != "two").await;
    let reply = get(&gateway, "/api").await;
    let text = "failure to get a peer from the ring-balancer";
    assert_eq!((reply.status, reply.json()["message"].clone()), (503, json!(text)));
    let shown = gateway.admin_get("/upstreams/api.upstream/health?balancer_health=1").await.expect(200).json();
    let data = &shown["data"];
    assert_eq!((&data["health"], &data["balancer_health"]), (&json!("UNHEALTHY"), &json!("UNHEALTHY")));
    assert_eq!(data["details"]["weight"], json!({"total": 200, "available": 0, "unavailable": 200}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_connections_is_out_after_so_many_failures_and_costs_no_request() {
    let gateway = Gateway::on_sqlite().await;
    let (mut one, two) = (Target::start("one").await, Target::start("two").await);
    one.kill().await;
    balanced(&gateway, "api", passive(json!({"tcp_failures": 4}), json!({})), &[&one, &two]).await;
    // Without retries each failure is seen: three are no reason, the fourth is.
    gateway.change("/services/api", json!({"retries": 0})).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(get(&gateway, "/api").await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 3, "{statuses:?}");
    assert_eq!(health_of(&gateway, "api", &one).await, "HEALTHY");
    gateway.change("/services/api", json!({"retries": 5})).await;
    assert_eq!(spread(&gateway, "/api", 2).await, counts([("two", 2)]));
    assert_eq!(health_of(&gateway, "api", &one).await, "UNHEALTHY");
    assert_eq!(spread(&gateway, "/api", 18).await, counts([("two", 18)]));
    let line = format!("target=\"{0}\"", one.authority());
    assert_eq!(gateway.metric("tollgate_upstream_target_healthy", &[&line]).await, 0.0);
    assert_eq!(gateway.metric("kong_upstream_target_health", &[&line, "state=\"unhealthy\""]).await, 1.0);
    assert_eq!(gateway.metric("kong_upstream_target_health", &[&line, "state=\"healthy\""]).await, 0.0);
    let shown = gateway.admin_get("/upstreams/api.upstream/health").await.expect(200).json();
    let data: Vec<_> = shown["data"].as_array().unwrap().iter().map(|target| target["data"].clone()).collect();
    let expected = |target: &Target, health: &str, available: u32| {
        json!({
            "host": "127.0.0.1", "port": target.address.port(), "dns": "ip", "nodeWeight": 100,
            "weight": {"total": 100, "available": available, "unavailable": 100 - available},
            "addresses": [{"ip": "127.0.0.1", "port": target.address.port(), "weight": 100, "health": health}],
        })
    };
    assert_eq!(data, [expected(&two, "HEALTHY", 100), expected(&one, "UNHEALTHY", 0)], "newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_is_out_after_so_many_timeouts() {
    let gateway = Gateway::on_sqlite().await;
    let (slow, fast) = (Target::start("slow").await, Target::start("fast").await);
    slow.take(Duration::from_secs(60));
    balanced(&gateway, "api", passive(json!({"timeouts": 2}), json!({})), &[&slow, &fast]).await;
    gateway.change("/services/api", json!({"read_timeout": 3000})).await;
    assert_eq!(spread(&gateway, "/api", 8).await, counts([("fast", 8)]), "each is retried at the other one");
    assert_eq!((slow.requests(), health_of(&gateway, "api", &slow).await.as_str()), (2, "UNHEALTHY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_threshold_decides_whether_the_upstream_is_used() {
    let gateway = Gateway::on_sqlite().await;
    let (mut one, two) = (Target::start("one").await, Target::start("two").await);
    one.kill().await;
    let checks = json!({"healthchecks": {"threshold": 50, "passive": {"unhealthy": {"tcp_failures": 1}}}});
    balanced(&gateway, "api", checks, &[&one, &two]).await;
    until("half of the weight is not more than half of it", async || get(&gateway, "/api").await.status == 503).await;
    gateway.change("/upstreams/api.upstream", json!({"healthchecks": {"threshold": 49}})).await;
    assert_eq!(spread(&gateway, "/api", 4).await, counts([("two", 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_find_out_what_fails_and_what_is_back_and_end_with_the_upstream() {
    let gateway = Gateway::on_sqlite().await;
    let (one, two) = (Target::start("one").await, Target::start("two").await);
    let headers = json!({"headers": {"X-Probe": ["a", "b"]}});
    balanced(&gateway, "api", active(headers), &[&one, &two]).await;
    until("both are probed", async || one.probes() > 1 && two.probes() > 1).await;
    let probe = one.last_probe().to_ascii_lowercase();
    let host = format!("host: {}\r\n", one.authority());
    assert!(probe.contains(&host) && probe.contains("x-probe: a\r\n") && probe.contains("x-probe: b\r\n"), "{probe}");
    one.respond_to_probes(500);
    until("it is unhealthy", async || health_of(&gateway, "api", &one).await == "UNHEALTHY").await;
    assert_eq!(spread(&gateway, "/api", 6).await, counts([("two", 6)]));
    one.respond_to_probes(200);
    until("it is healthy", async || health_of(&gateway, "api", &one).await == "HEALTHY").await;
    assert_eq!(spread(&gateway, "/api", 6).await, counts([("one", 3), ("two", 3)]));
    gateway.delete("/upstreams/api.upstream").await;
    let (before, mut quiet) = (one.probes(), 0);
    let mut last = before;
    // A probe may have been on its way.
    until("probes have ended", async || {
        quiet = if one.probes() == last { quiet + 1 } else { 0 };
        last = one.probes();
        quiet > 25
    })
    .await;
    assert!(last <= before + 1, "{before} probes, then {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_ends_and_comes_back_is_found_out_by_connecting() {
    let gateway = Gateway::on_sqlite().await;
    let (mut one, two) = (Target::start("one").await, Target::start("two").await);
    balanced(&gateway, "api", active(json!({"type": "tcp"})), &[&one, &two]).await;
    until("both are probed", async || one.connections() > 1 && two.connections() > 1).await;
    one.kill().await;
    until("it is unhealthy", async || health_of(&gateway, "api", &one).await == "UNHEALTHY").await;
    let _again = Target::at("again", one.address).await;
    until("it is healthy", async || health_of(&gateway, "api", &one).await == "HEALTHY").await;
    assert_eq!(spread(&gateway, "/api", 4).await, counts([("again", 2), ("two", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_over_tls_verify_the_name_unless_they_are_told_not_to() {
    let gateway = Gateway::on_sqlite().await;
    let over_tls = |more: Value| {
        let mut given = json!({"type": "https", "http_path": "/status/ready"});
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        active(given)
    };
    // The TLS listener of another gateway, which nobody vouches for.
    let other = Gateway::on_sqlite().await;
    let statuses = json!({"interval": 0.1, "successes": 1, "http_statuses": [404]});
    // The response is as good in both cases: only the certificate can fail.
    let strict = over_tls(json!({"healthy": statuses, "https_sni": "a.test"}));
    let lenient = over_tls(json!({"https_verify_certificate": false, "healthy": statuses, "https_sni": "a.test"}));
    for (name, upstream, expected) in [("strict", strict, "UNHEALTHY"), ("lenient", lenient, "HEALTHY")] {
        balanced(&gateway, name, upstream, &[]).await;
        let targets = format!("/upstreams/{name}.upstream/targets");
        gateway.create(&targets, json!({"target": other.https.to_string()})).await;
        let path = format!("{targets}/{}/unhealthy", other.https);
        if name == "lenient" {
            gateway.admin(Method::PUT, &path, Value::Null).await.expect(204);
        }
        until(name, async || {
            let shown = gateway.admin_get(&format!("/upstreams/{name}.upstream/health")).await.json();
            shown["data"][0]["health"] == json!(expected)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_decides_for_all_nodes() {
    let gateway = Gateway::on(Store::Postgres, &[]).await;
    let other = gateway.another_node().await;
    let (one, two) = (Target::start("one").await, Target::start("two").await);
    balanced(&gateway, "api", passive(json!({"tcp_failures": 5}), json!({})), &[&one, &two]).await;
    until("the other node knows both", async || get(&other, "/api").await.status == 200).await;
    let path = format!("/upstreams/api.upstream/targets/{}", one.authority());
    gateway.admin(Method::PUT, &format!("{path}/unhealthy"), Value::Null).await.expect(204);
    assert_eq!(spread(&gateway, "/api", 4).await, counts([("two", 4)]));
    until("the other node heard of it", async || health_of(&other, "api", &one).await == "UNHEALTHY").await;
    gateway.admin(Method::PUT, &format!("{path}/{}/healthy", one.authority()), Value::Null).await.expect(204);
    assert_eq!(health_of(&gateway, "api", &one).await, "HEALTHY");
    until("the other node heard of that", async || health_of(&other, "api", &one).await == "HEALTHY").await;
    let refused = gateway.admin(Method::PUT, &format!("{path}/10.0.0.1:80/healthy"), Value::Null).await;
    assert_eq!((refused.status, refused.json()), (400, json!({"message": "target not found"})));
    gateway.create("/upstreams", json!({"name": "unchecked.upstream"})).await;
    gateway.create("/upstreams/unchecked.upstream/targets", json!({"target": one.authority()})).await;
    let path = format!("/upstreams/unchecked.upstream/targets/{}/healthy", one.authority());
    let refused = gateway.admin(Method::PUT, &path, Value::Null).await;
    let text = "no healthchecker found for unchecked.upstream";
    assert_eq!((refused.status, refused.json()), (400, json!({"message": text})));
    assert_eq!(health_of(&gateway, "unchecked", &one).await, "HEALTHCHECKS_OFF");
}

/// A gRPC server with a health service: what it says is shared.
async fn grpc_server(serving: std::sync::Arc<std::sync::atomic::AtomicBool>) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = std::sync::Arc::clone(&serving);
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let mut body = respond.send_response(head, false).unwrap();
                    let status = if serving.load(std::sync::atomic::Ordering::SeqCst) { 1 } else { 2 };
                    body.send_data(bytes::Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false).unwrap();
                    let trailers = http::HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        http::HeaderValue::from_static("0"),
                    )]);
                    body.send_trailers(trailers).unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_service_of_grpc_is_asked() {
    let gateway = Gateway::on_sqlite().await;
    let serving = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let address = grpc_server(std::sync::Arc::clone(&serving)).await;
    balanced(&gateway, "api", active(json!({"type": "grpc"})), &[]).await;
    gateway.create("/upstreams/api.upstream/targets", json!({"target": address.to_string()})).await;
    let health = async || {
        let shown = gateway.admin_get("/upstreams/api.upstream/health").await.json();
        shown["data"][0]["health"].as_str().unwrap().to_owned()
    };
    until("it does not serve", async || health().await == "UNHEALTHY").await;
    serving.store(true, std::sync::atomic::Ordering::SeqCst);
    until("it serves", async || health().await == "HEALTHY").await;
}

/// A listener whose connections get this much, and nothing more.
async fn silent(said: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.write_all(said.as_bytes()).await;
            kept.push(connection);
        }
    });
    address
}

/// An upstream that one sign of failure takes its target out of, with a service and a route by its name.
async fn strict(gateway: &Gateway, name: &str, target: SocketAddr, service: Value, route: Value) {
    let mut upstream = passive(json!({"tcp_failures": 1, "timeouts": 1}), json!({}));
    upstream["name"] = json!(format!("{name}.upstream"));
    gateway.create("/upstreams", upstream).await;
    gateway.create(&format!("/upstreams/{name}.upstream/targets"), json!({"target": target.to_string()})).await;
    let mut all = json!({"name": name, "host": format!("{name}.upstream"), "retries": 0});
    all.as_object_mut().unwrap().extend(service.as_object().unwrap().clone());
    gateway.create("/services", all).await;
    let mut all = json!({"paths": [format!("/{name}")]});
    all.as_object_mut().unwrap().extend(route.as_object().unwrap().clone());
    gateway.create(&format!("/services/{name}/routes"), all).await;
}

async fn only_health(gateway: &Gateway, name: &str) -> String {
    let shown = gateway.admin_get(&format!("/upstreams/{name}.upstream/health")).await.expect(200).json();
    shown["data"][0]["health"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_brings_about_is_no_sign_against_a_target() {
    let gateway = Gateway::on_sqlite().await;
    // The name that is verified is the client's.
    let other = Gateway::on_sqlite().await;
    let verified = json!({"protocol": "https", "tls_verify": true});
    strict(&gateway, "theirs", other.https, verified.clone(), json!({"preserve_host": true})).await;
    strict(&gateway, "ours", other.https, verified, json!({})).await;
    for (name, expected) in [("theirs", "HEALTHY"), ("ours", "UNHEALTHY")] {
        assert!(get(&gateway, &format!("/{name}")).await.status >= 502, "{name}");
        assert_eq!(only_health(&gateway, name).await, expected, "{name}");
    }
    // A stream of events that is silent for a while, and a target that never responds.
    let begun = silent("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await;
    let brief = json!({"read_timeout": 300});
    strict(&gateway, "begun", begun, brief.clone(), json!({})).await;
    strict(&gateway, "silent", silent("").await, brief, json!({})).await;
    let authority = gateway.http.to_string();
    for (name, expected) in [("begun", "HEALTHY"), ("silent", "UNHEALTHY")] {
        let request = format!("GET /{name} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let said = raw::bytes(&authority, request.as_bytes()).await;
        assert_eq!(said.starts_with("HTTP/1.1 200"), name == "begun", "{said}");
        assert_eq!(only_health(&gateway, name).await, expected, "{name}");
    }
    // The deadline of a call.
    let protocols = json!({"protocols": ["grpc", "grpcs"]});
    strict(&gateway, "call", silent("").await, json!({"protocol": "grpc"}), protocols).await;
    let call = gateway.request(Method::PUT, "/call/M").header("content-type", "application/grpc");
    let reply = gateway.send(call.header("grpc-timeout", "1n")).await;
    assert_eq!(reply.header("grpc-status"), Some("4".to_owned()), "{}", reply.status);
    assert_eq!(only_health(&gateway, "call").await, "HEALTHY");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_upstreams_may_differ_by_case_alone_and_none_takes_the_others_requests() {
    let gateway = Gateway::on_sqlite().await;
    let (one, two) = (Target::start("one").await, Target::start("two").await);
    balanced(&gateway, "api", json!({}), &[&one]).await;
    gateway.create("/upstreams", json!({"name": "API.upstream"})).await;
    gateway.create("/upstreams/API.upstream/targets", json!({"target": two.authority()})).await;
    assert_eq!(spread(&gateway, "/api", 4).await, counts([("one", 4)]));
    gateway.delete("/upstreams/API.upstream").await;
    assert_eq!(spread(&gateway, "/api", 4).await, counts([("one", 4)]));
}
