//! HTTP/1.1 on the wrong port, end to end: the gateway's own tests cover the details
//! (gateway/server/tests/http1).

use std::time::{Duration, Instant};

use http::Method;
use tollgate_tests::{Gateway, raw};

/// The access log line of a request, once it is written.
async fn logged(gateway: &Gateway, request_id: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(line) = gateway.output().lines().find(|line| line.contains(request_id)) {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "no line has {request_id}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_tls_port_and_tls_on_the_plain_port_are_refused_with_a_response() {
    let gateway = Gateway::on_sqlite().await;
    let hello = b"\x16\x03\x01\x00\xc4\x01\x00\x00\xc0\x03\x03".as_slice();
    let rows = [
        (
            gateway.https,
            b"GET /private HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\n\r\n".as_slice(),
            "The plain HTTP request was sent to HTTPS port",
            "400 GET /private ",
            "reason=plain_http_on_https",
        ),
        (gateway.https, b"SSH-2.0-x\r\n\r\n".as_slice(), "Bad request", "400 SSH-2.0-x / ", "reason=bad_request"),
        (gateway.http, hello, "Bad request", "400 - / ", "reason=bad_request"),
    ];
    for (address, request, message, begin, reason) in rows {
        let reply = raw::exchange(&address.to_string(), request).await.expect("a response");
        let id = reply.header("x-kong-request-id").unwrap();
        let received = (reply.status, reply.header("content-type"), reply.header("server"), reply.body.clone());
        let plain = Some("text/plain; charset=utf-8".to_owned());
        let body = format!("{message}\nrequest_id: {id}\n");
        assert_eq!(received, (400, plain, Some(tollgate_tests::SERVER.to_owned()), body));
        let line = logged(&gateway, &id).await;
        assert!(line.contains(begin) && line.contains(reason) && line.contains("client=127.0.0.1"), "{line}");
    }
    assert!(gateway.metric("tollgate_requests_total", &["code=\"400\"", "route=\"\""]).await >= 3.0);
    // The port still speaks TLS.
    gateway.send(gateway.request(Method::GET, "/")).await.expect(404);
}
