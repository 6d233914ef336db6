//! Routing and proxying (gateway.md §6, §7): upstream paths, error bodies in every type,
//! forwarded headers, priorities.

use http::Method;
use openssl::ssl::SslVersion;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Reply, SERVER, Store, Upstream, raw, tls};

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_path_is_as_documented() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    // service.path, route path, request, stripped, not stripped: gateway.md §6.
    let rows = [
        (None, "/api", "/api", "/", "/api"),
        (Some("/"), "/api", "/api", "/", "/api"),
        (Some("/"), "/api", "/api/", "/", "/api/"),
        (Some("/"), "/api", "/api/x", "/x", "/api/x"),
        (Some("/"), "/api", "/apix", "/x", "/apix"),
        (Some("/v1"), "/api", "/api", "/v1", "/v1/api"),
        (Some("/v1"), "/api", "/api/", "/v1/", "/v1/api/"),
        (Some("/v1"), "/api", "/api/x", "/v1/x", "/v1/api/x"),
        (Some("/v1"), "/api", "/apix", "/v1/x", "/v1/apix"),
        (Some("/v1/"), "/api", "/api", "/v1", "/v1/api"),
        (Some("/v1/"), "/api", "/api/", "/v1/", "/v1/api/"),
        (Some("/v1/"), "/api", "/api/x", "/v1/x", "/v1/api/x"),
        (Some("/v1"), "/api/", "/api/x", "/v1/x", "/v1/api/x"),
        (Some("/v1"), "/", "/", "/v1", "/v1"),
        (Some("/v1/"), "/", "/x", "/v1/x", "/v1/x"),
        (Some("/v1"), "~/re/(?<n>\\d+)", "/re/12/x", "/v1/x", "/v1/re/12/x"),
        (None, "/q", "/q?", "/?", "/q?"),
        (None, "/q", "/q/x?b=1&a=%41", "/x?b=1&a=%41", "/q/x?b=1&a=%41"),
        (None, "/n", "/n/a/../b//c/%41%2fd", "/b/c/A%2Fd", "/n/b/c/A%2Fd"),
    ];
    let mut findings = Findings::new();
    for (index, (service_path, path, request, stripped, kept)) in rows.into_iter().enumerate() {
        let service = json!({"url": upstream.url(), "path": service_path, "name": format!("s{index}")});
        let service = gateway.create("/services", service).await;
        for (strip, expected) in [(true, stripped), (false, kept)] {
            let host = format!("r{index}-{strip}.test");
            let route =
                json!({"paths": [path], "hosts": [host], "strip_path": strip, "service": {"id": service["id"]}});
            gateway.create("/routes", route).await;
            let reply = raw::get(&gateway.http.to_string(), request, &[("Host", &host)]).await;
            let row = format!("service {service_path:?}, route {path}, request {request}, strip_path={strip}");
            findings.compare(&row, &(200, json!(expected)), &(reply.status, reply.content()["uri"].clone()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_names_itself_or_the_compatible_gateway_and_the_admin_api_always_the_latter() {
    let mut findings = Findings::new();
    let upstream = Upstream::start().await;
    let ours = (SERVER, "1.1 tollgate", "2 tollgate");
    let compatible = ("kong/3.10.0", "1.1 kong/3.10.0", "2 kong/3.10.0");
    let settings: [(&[(&str, &str)], _); 3] = [
        (&[], ours),
        (&[("TOLLGATE_PROXY_IDENTIFY_AS", "tollgate")], ours),
        (&[("TOLLGATE_PROXY_IDENTIFY_AS", "kong")], compatible),
    ];
    for (settings, (server, http1, http2)) in settings {
        let gateway = Gateway::on(Store::Sqlite, settings).await;
        Api::open(&gateway, "open", &upstream).await;
        let expected = |via| (Some(server.to_owned()), Some(http1.to_owned()), json!([via]));
        let plain = raw::get(&gateway.http.to_string(), "/open", &[]).await.expect(200);
        let seen =
            |reply: &Reply| (reply.header("server"), reply.header("via"), reply.json()["headers"]["via"].clone());
        findings.compare(&format!("{settings:?}, HTTP/1.1"), &expected(http1), &seen(&plain));
        let request = gateway.request(Method::GET, "/open").version(http::Version::HTTP_2);
        let second = gateway.send(request).await.expect(200);
        findings.compare(&format!("{settings:?}, HTTP/2"), &expected(http2), &seen(&second));
        let own = gateway.send(gateway.request(Method::GET, "/none").version(http::Version::HTTP_2)).await.expect(404);
        let own = (own.header("server"), own.header("via"));
        findings.compare(&format!("{settings:?}, the gateway's own"), &(Some(server.to_owned()), None), &own);
        let admin = gateway.admin(Method::GET, "/", json!(null)).await.expect(200);
        let reported = (admin.header("server"), admin.json()["version"].clone());
        let expected = (Some("kong/3.10.0".to_owned()), json!("3.10.0"));
        findings.compare(&format!("{settings:?}, Admin API"), &expected, &reported);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_content_type_that_the_client_accepts() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let (service, _) = Api::open(&gateway, "open", &upstream).await;
    gateway.create("/routes", json!({"paths": ["/nowhere"]})).await;
    let tls = json!({"paths": ["/tls"], "protocols": ["https"], "service": {"id": service["id"]}});
    gateway.create("/routes", tls).await;
    let dead = gateway.create("/services", json!({"url": "http://127.0.0.1:1", "retries": 0})).await;
    gateway.create("/routes", json!({"paths": ["/dead"], "service": {"id": dead["id"]}})).await;
    let types = [
        (None, "json"),
        (Some("*/*"), "json"),
        (Some("application/json"), "json"),
        (Some("text/plain"), "plain"),
        (Some("text/html"), "html"),
        (Some("application/xml"), "xml"),
        (Some("text/html;q=0.1, text/plain;q=0.9"), "plain"),
        (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), "html"),
    ];
    let cases = [
        ("/", 404, "no Route matched with those values"),
        ("/nowhere", 503, "no Service found with those values"),
        ("/tls", 426, "Please use HTTPS protocol"),
    ];
    let mut findings = Findings::new();
    for (path, status, message) in cases {
        for (accept, kind) in types {
            let accept: Vec<_> = accept.into_iter().map(|accept| ("Accept", accept)).collect();
            let reply = raw::get(&gateway.http.to_string(), path, &accept).await;
            let id = reply.header("x-kong-request-id").unwrap_or_default();
            let row = format!("{path} accepting {accept:?}");
            let hex = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            findings.check(&format!("{row}: request id"), if hex { Ok(()) } else { Err(id.clone()) });
            let content_type = reply.header("content-type").unwrap_or_default();
            let (expected_type, body) = match kind {
                "json" => (
                    "application/json; charset=utf-8",
                    format!("{{\n  \"message\":\"{message}\",\n  \"request_id\":\"{id}\"\n}}"),
                ),
                "plain" => ("text/plain; charset=utf-8", format!("{message}\nrequest_id: {id}\n")),
                "html" => ("text/html; charset=utf-8", String::new()),
                _ => ("application/xml; charset=utf-8", String::new()),
            };
            let got = (reply.status, content_type.as_str());
            findings.compare(&row, &(status, expected_type), &got);
            match kind {
                "html" => {
                    let parts =
                        ["<h1>Error</h1>".to_owned(), format!("<p>{message}.</p>"), format!("<p>request_id: {id}</p>")];
                    let absent: Vec<_> = parts.iter().filter(|part| !reply.body.contains(part.as_str())).collect();
                    findings.check(
                        &row,
                        if absent.is_empty() { Ok(()) } else { Err(format!("{absent:?} not in {}", reply.body)) },
                    );
                }
                "xml" => {
                    let element = format!("<error><message>{message}</message><requestid>{id}</requestid></error>");
                    let flat: String = reply.body.lines().map(str::trim).collect();
                    let right = flat.starts_with("<?xml") && flat.contains(&element);
                    findings.check(&row, if right { Ok(()) } else { Err(reply.body.clone()) });
                }
                _ => findings.compare(&format!("{row}: body"), &body, &reply.body),
            }
        }
    }
    let upgrade = raw::get(&gateway.http.to_string(), "/tls", &[]).await;
    let got = ["connection", "upgrade"].map(|name| upgrade.header(name).map(|value| value.to_lowercase()));
    // Pingora says itself whether the connection is kept: docs/coming-from-kong.md.
    findings.compare("426", &[Some("close".to_owned()), Some("tls/1.2, http/1.1".to_owned())], &got);
    let dead = raw::get(&gateway.http.to_string(), "/dead", &[("Accept", "text/plain")]).await;
    let message = "An invalid response was received from the upstream server";
    let expected = format!("{message}\nrequest_id: {}\n", dead.header("x-kong-request-id").unwrap_or_default());
    findings.compare("502", &(502, expected), &(dead.status, dead.body.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_requests_are_redirected_to_https_if_the_route_says_so() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let (service, _) = Api::open(&gateway, "open", &upstream).await;
    let mut findings = Findings::new();
    for code in [301, 302, 307, 308] {
        let path = format!("/to{code}");
        let route = json!({
            "paths": [path], "protocols": ["https"], "https_redirect_status_code": code,
            "service": {"id": service["id"]},
        });
        gateway.create("/routes", route).await;
        let reply = raw::get(&gateway.http.to_string(), &format!("{path}/x?a=1"), &[("Host", "shop.test")]).await;
        let expected = (code, Some(format!("https://shop.test{path}/x?a=1")), String::new());
        findings.compare(&path, &expected, &(reply.status, reply.header("location"), reply.body.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_headers_describe_the_client_request() {
    let upstream = Upstream::start().await;
    let mut findings = Findings::new();
    for trusted in [false, true] {
        let settings: &[(&str, &str)] = if trusted { &[("TOLLGATE_TRUSTED_IPS", "127.0.0.1/32")] } else { &[] };
        let gateway = Gateway::on(Store::Sqlite, settings).await;
        Api::open(&gateway, "open", &upstream).await;
        let port = gateway.http.port().to_string();
        let plain = raw::get(&gateway.http.to_string(), "/open/x?q=1", &[("Host", "Shop.Test:81")]).await;
        let sent = [
            ("Host", "shop.test"),
            ("X-Forwarded-For", "10.0.0.9"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "outer.test"),
            ("X-Forwarded-Port", "444"),
            ("X-Forwarded-Path", "/outer"),
            ("X-Forwarded-Prefix", "/prefix"),
            ("X-Real-IP", "10.0.0.9"),
            ("X-Kong-Request-Id", "mine"),
        ];
        let forwarded = raw::get(&gateway.http.to_string(), "/open/x", &sent).await;
        let kept = |theirs: &'static str, ours: &str| if trusted { theirs.to_owned() } else { ours.to_owned() };
        let rows = [
            (&plain, "host", upstream.authority()),
            (&plain, "x-forwarded-for", "127.0.0.1".to_owned()),
            (&plain, "x-forwarded-proto", "http".to_owned()),
            (&plain, "x-forwarded-host", "shop.test".to_owned()),
            (&plain, "x-forwarded-port", port.clone()),
            (&plain, "x-forwarded-path", "/open/x".to_owned()),
            (&plain, "x-forwarded-prefix", "/open".to_owned()),
            (&plain, "x-real-ip", "127.0.0.1".to_owned()),
            (&forwarded, "x-forwarded-for", "10.0.0.9, 127.0.0.1".to_owned()),
            (&forwarded, "x-forwarded-proto", kept("https", "http")),
            (&forwarded, "x-forwarded-host", kept("outer.test", "shop.test")),
            (&forwarded, "x-forwarded-port", kept("444", &port)),
            (&forwarded, "x-forwarded-path", kept("/outer", "/open/x")),
            (&forwarded, "x-forwarded-prefix", kept("/prefix", "/open")),
            (&forwarded, "x-real-ip", kept("10.0.0.9", "127.0.0.1")),
        ];
        for (reply, name, expected) in rows {
            let row = format!("{name}, peer trusted: {trusted}, sent: {}", std::ptr::eq(reply, &forwarded));
            findings.compare(&row, &json!([expected]), &reply.content()["headers"][name]);
        }
        let headers = &forwarded.content()["headers"];
        let id = json!([forwarded.header("x-kong-request-id")]);
        findings.compare("the request id is the gateway's and is in the response", &id, &headers["x-kong-request-id"]);
        findings.check(
            "it is not the client's",
            if headers["x-kong-request-id"] == json!(["mine"]) { Err("mine".to_owned()) } else { Ok(()) },
        );
        for name in ["x-kong-upstream-latency", "x-kong-proxy-latency"] {
            let number = forwarded.header(name).and_then(|value| value.parse::<u64>().ok());
            findings.check(name, number.map(drop).ok_or_else(|| format!("{:?}", forwarded.header(name))));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_are_removed() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "open", &upstream).await;
    let request = format!(
        "POST /open/x HTTP/1.1\r\nHost: {}\r\nConnection: close, x-secret-hop, content-length, host\r\nX-Secret-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nContent-Length: 2\r\n\r\nhi",
        gateway.http
    );
    let reply = raw::exchange(&gateway.http.to_string(), request.as_bytes()).await.expect("a response");
    let seen = reply.content();
    let mut findings = Findings::new();
    for name in ["x-secret-hop", "keep-alive", "proxy-connection", "te"] {
        findings.compare(name, &Value::Null, &seen["headers"][name]);
    }
    findings.compare("the body is whole", &json!("hi"), &seen["body"]);
    findings.compare("so is Host", &json!([upstream.authority()]), &seen["headers"]["host"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_route_matches() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let routes = [
        ("plain", json!({"paths": ["/a"]})),
        ("longer", json!({"paths": ["/a/b"]})),
        ("regex", json!({"paths": ["~/a/c"]})),
        ("prior", json!({"paths": ["~/a/d"], "regex_priority": 5})),
        ("after", json!({"paths": ["~/a/d/e"]})),
        ("wild", json!({"hosts": ["*.shop.test"], "paths": ["/a"]})),
        ("host", json!({"hosts": ["www.shop.test"], "paths": ["/a"]})),
        ("header", json!({"headers": {"x-kind": ["new"]}, "paths": ["/a"], "hosts": ["www.shop.test"]})),
        ("method", json!({"methods": ["DELETE"], "paths": ["/a"]})),
    ];
    for (name, criteria) in &routes {
        let service = json!({"name": name, "url": format!("{}/{name}", upstream.url())});
        gateway.create("/services", service).await;
        gateway.create(&format!("/services/{name}/routes"), criteria.clone()).await;
    }
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let rows: [Row<'_>; 10] = [
        ("GET", "/a", &[], "plain"),
        ("GET", "/a/b", &[], "longer"),
        ("GET", "/a/c", &[], "regex"),
        ("GET", "/a/d/e", &[], "prior"),
        ("GET", "/a", &[("Host", "www.shop.test")], "host"),
        ("GET", "/a/b", &[("Host", "x.shop.test")], "wild"),
        ("GET", "/a", &[("Host", "www.shop.test"), ("X-Kind", "NEW")], "header"),
        ("GET", "/a", &[("Host", "www.shop.test:8080")], "host"),
        ("DELETE", "/a/b", &[], "method"),
        ("GET", "/b", &[], "404"),
    ];
    let mut findings = Findings::new();
    for (method, path, headers, expected) in rows {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let host = headers.iter().any(|(name, _)| *name == "Host");
        if !host {
            request.push_str("Host: other.test\r\n");
        }
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        let reply = raw::exchange(&gateway.http.to_string(), request.as_bytes()).await.expect("a response");
        let uri = reply.content()["uri"].as_str().unwrap_or_default().to_owned();
        let got = if reply.status == 200 {
            uri.split('/').nth(1).unwrap_or_default().to_owned()
        } else {
            reply.status.to_string()
        };
        findings.compare(&format!("{method} {path} {headers:?}"), &expected.to_owned(), &got);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_in_force_with_its_response() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    for round in 0..20 {
        let path = format!("/round{round}");
        let name = format!("round{round}");
        Api::open(&gateway, &name, &upstream).await;
        gateway.send(gateway.request(Method::GET, &path)).await.expect(200);
        let plugin = json!({"name": "oauth2", "config": {"enable_client_credentials": true}});
        gateway.create(&format!("/services/{name}/plugins"), plugin).await;
        gateway.send(gateway.request(Method::GET, &path)).await.expect(401);
        gateway.delete(&format!("/routes/{name}")).await;
        gateway.send(gateway.request(Method::GET, &path)).await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_a_disabled_service_do_not_match() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({})).await;
    let status = async || {
        let asked = gateway.send(gateway.request(Method::GET, "/api/things")).await;
        let token = gateway.send(gateway.request(Method::POST, "/api/oauth2/token")).await;
        (asked.status, token.status)
    };
    let mut findings = Findings::new();
    findings.compare("enabled", &(401, 400), &status().await);
    gateway.change("/services/api", json!({"enabled": false})).await;
    findings.compare("disabled", &(404, 404), &status().await);
    Api::open(&gateway, "ap", &upstream).await;
    findings.compare("disabled, with a less specific route", &(200, 200), &status().await);
    gateway.change("/services/api", json!({"enabled": true})).await;
    findings.compare("enabled again", &(401, 400), &status().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_and_http1_are_served_over_tls() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "open", &upstream).await;
    let response = gateway.request(Method::GET, "/open/x").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    let certificate = reqwest::Certificate::from_pem(&gateway.addresses.certificate).unwrap();
    let old = reqwest::Client::builder().no_proxy().http1_only().tls_certs_only([certificate]).build().unwrap();
    let response = old.get(gateway.url("/open/x")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_11));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_with_snis_matches_only_that_server_name() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    for (name, sni) in [("exact", "www.Shop.test"), ("wild", "*.SHOP.test")] {
        let service = json!({"name": name, "url": format!("{}/{name}", upstream.url())});
        gateway.create("/services", service).await;
        let route = json!({"paths": [format!("/{name}")], "snis": [sni], "protocols": ["https"]});
        gateway.create(&format!("/services/{name}/routes"), route).await;
    }
    let rows = [
        (Some("www.shop.test"), "/exact", 200),
        (Some("WWW.Shop.Test"), "/exact", 200),
        (Some("www.shop.test."), "/exact", 200),
        (Some("shop.test"), "/exact", 404),
        (Some("other.test"), "/exact", 404),
        (None, "/exact", 404),
        (Some("any.shop.test"), "/wild", 200),
        (Some("shop.test"), "/wild", 404),
        (None, "/wild", 404),
    ];
    let mut findings = Findings::new();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for (name, path, expected) in rows {
            let status = tls::get(gateway.https, name, version, path).await.map(|reply| reply.status);
            findings.compare(&format!("{path} for {name:?}, {version:?}"), &Ok(expected), &status);
        }
    }
    // Without TLS there is no server name to compare, and the route requires TLS.
    let plain = raw::get(&gateway.http.to_string(), "/exact", &[("Host", "www.shop.test")]).await;
    findings.compare("plain", &426, &plain.status);

    let second = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
    let second = second.resolve("www.shop.test", gateway.https).build().unwrap();
    for _ in 0..2 {
        let url = format!("https://www.shop.test:{}/exact", gateway.https.port());
        let response = second.get(url).send().await.unwrap();
        findings.compare("HTTP/2", &(200, http::Version::HTTP_2), &(response.status().as_u16(), response.version()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_before_1_2_is_refused() {
    let gateway = Gateway::on_sqlite().await;
    let mut findings = Findings::new();
    for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
        let refused = tls::get(gateway.https, None, version, "/").await.map(|reply| reply.status);
        let alert = refused.as_ref().is_err_and(|error| error.contains("protocol version"));
        findings.check(&format!("{version:?}"), if alert { Ok(()) } else { Err(format!("{refused:?}")) });
    }
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let status = tls::get(gateway.https, None, version, "/").await.map(|reply| reply.status);
        findings.compare(&format!("{version:?}"), &Ok(404), &status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_from_the_client_the_service_host_is_sent() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let service = gateway.create("/services", json!({"url": upstream.url()})).await;
    let route = json!({"paths": ["/p"], "preserve_host": true, "service": {"id": service["id"]}});
    gateway.create("/routes", route).await;
    let reply = raw::exchange(&gateway.http.to_string(), b"GET /p HTTP/1.0\r\n\r\n").await.unwrap();
    let host = upstream.url().replace("http://", "");
    assert_eq!((reply.status, &reply.content()["headers"]["host"]), (200, &json!([host])));
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_routes_check_the_content_type_first() {
    let gateway = Gateway::on_sqlite().await;
    gateway.create("/routes", json!({"paths": ["/g"], "protocols": ["grpc", "grpcs"]})).await;
    let cases = [
        (vec![], 415, "Non-gRPC request matched gRPC route"),
        (vec![("Content-Type", "application/grpc")], 426, "Please use HTTP2 protocol"),
    ];
    for (headers, status, message) in cases {
        let reply = raw::get(&gateway.http.to_string(), "/g", &headers).await;
        assert_eq!((reply.status, &reply.content()["message"]), (status, &json!(message)));
    }
}
