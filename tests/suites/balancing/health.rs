//! Health checks: passive ones, active ones, and what operators say.

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
    while get(&gateway, "/api").await.body == "two" {}
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
    assert_eq!(spread(&gateway, "/api", 20).await, counts([("two", 20)]));
    assert_eq!(health_of(&gateway, "api", &one).await, "UNHEALTHY");
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
    gateway.change("/services/api", json!({"read_timeout": 300})).await;
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
    let target = Target::start("plain").await;
    let over_tls = |more: Value| {
        let mut given = json!({"type": "https", "http_path": "/status/ready"});
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        active(given)
    };
    // The TLS listener of another gateway, which nobody vouches for.
    let other = Gateway::on_sqlite().await;
    let statuses = json!({"interval": 0.1, "successes": 1, "http_statuses": [404]});
    let lenient = over_tls(json!({"https_verify_certificate": false, "healthy": statuses, "https_sni": "a.test"}));
    for (name, upstream, expected) in [("strict", over_tls(json!({})), "UNHEALTHY"), ("lenient", lenient, "HEALTHY")] {
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
    drop(target);
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
