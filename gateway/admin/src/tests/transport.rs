//! See gateway.md §1.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[tokio::test]
async fn responses_on_one_connection_are_framed_correctly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(axum::serve(listener, crate::router(Admin::new().0)).into_future());
    client
        .write_all(
            b"HEAD /services HTTP/1.1\r\nHost: localhost\r\n\r\n\
              OPTIONS /services HTTP/1.1\r\nHost: localhost\r\n\r\n\
              DELETE /services/x HTTP/1.1\r\nHost: localhost\r\n\r\n\
              POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n\
              GET /services HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    let responses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).collect();
    let starts: Vec<&str> = responses.iter().map(|response| &response[..3]).collect();
    assert_eq!(starts, ["200", "204", "204", "415", "200"], "{text}");
    let length = |response: &str| {
        let found = response.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
        found.unwrap_or_default()
    };
    let lengths: Vec<String> = responses.iter().map(|response| length(response)).collect();
    assert_eq!(lengths, ["23", "", "", "0", "23"], "{text}");
    let typed: Vec<bool> = responses.iter().map(|response| response.contains("content-type: ")).collect();
    assert_eq!(typed, [true, false, false, true, true], "{text}");
    assert!(responses[0].ends_with("\r\n\r\n"), "{text}");
    assert!(responses[4].ends_with(r#"{"data":[],"next":null}"#), "{text}");
}

#[tokio::test]
async fn every_response_carries_the_frame() {
    let admin = Admin::new();
    for (method, path) in [("GET", "/services"), ("GET", "/nothing"), ("TRACE", "/services"), ("HEAD", "/")] {
        let seen = admin.bare(method, path).await;
        assert_eq!(seen.header("content-type"), "application/json; charset=utf-8", "{method} {path}");
        assert_eq!(seen.header("server"), "kong/3.10.0");
        assert_eq!(seen.header("access-control-allow-origin"), "*");
        assert_eq!(seen.header("access-control-allow-credentials"), "true");
        assert!(seen.header("x-kong-admin-latency").parse::<u64>().is_ok());
        assert!(seen.header("content-length").parse::<u64>().is_ok_and(|length| length > 0));
    }
}

#[tokio::test]
async fn unknown_paths_are_404_and_unserved_methods_405() {
    let admin = Admin::new();
    for method in ["GET", "POST", "OPTIONS", "NONSENSE"] {
        assert_eq!(admin.bare(method, "/nothing").await.status_and_body(), not_found(), "{method}");
    }
    for path in ["/upstreams", "/certificates", "/snis", "/ca_certificates", "/vaults", "/services/a/b/c/d", "/a//b"] {
        assert_eq!(admin.get(path).await, not_found(), "{path}");
    }
    for (method, path, allow) in [
        ("PATCH", "/services", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/services/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("NONSENSE", "/services", "GET, HEAD, OPTIONS, POST"),
        ("TRACE", "/", "GET, HEAD, OPTIONS"),
        ("GET", "/cache", "DELETE, OPTIONS"),
        ("HEAD", "/cache", "DELETE, OPTIONS"),
        ("POST", "/status", "GET, HEAD, OPTIONS"),
    ] {
        let seen = admin.bare(method, path).await;
        assert_eq!((seen.status.as_u16(), seen.header("allow")), (405, allow), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(seen.status_and_body(), not_allowed(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn options_lists_the_methods_of_known_paths() {
    let admin = Admin::new();
    for (path, allow) in [
        ("/services", "GET, HEAD, OPTIONS, POST"),
        ("/services/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/services/x/routes", "GET, HEAD, OPTIONS, POST"),
        ("/routes/x/service", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/", "GET, HEAD, OPTIONS"),
        ("/cache", "DELETE, OPTIONS"),
    ] {
        let seen = admin.bare("OPTIONS", path).await;
        assert_eq!((seen.status.as_u16(), seen.text.as_str()), (204, ""), "{path}");
        assert_eq!(seen.header("allow"), allow, "{path}");
        assert_eq!(seen.header("access-control-allow-methods"), allow, "{path}");
        assert_eq!(seen.header("access-control-allow-headers"), "Content-Type");
    }
    let request = Request::builder().method("OPTIONS").uri("/services");
    let request = request.header("access-control-request-headers", "X-A, X-B").body(Body::empty()).unwrap();
    assert_eq!(admin.send(request).await.header("access-control-allow-headers"), "X-A, X-B");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let admin = Admin::new();
    let get = admin.bare("GET", "/services").await;
    let head = admin.bare("HEAD", "/services").await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(admin.bare("HEAD", "/services/x").await.status, 404);
}

#[tokio::test]
async fn bodies_are_read_by_their_content_type() {
    let admin = Admin::new();
    let parse_error = (400, json!({ "message": "Cannot parse JSON body" }));
    for body in ["", "{", "[]", "1", "null", "{\"a\":1"] {
        assert_eq!(
            admin.typed("POST", "/services", "application/json", body).await.status_and_body(),
            parse_error,
            "{body}"
        );
    }
    for content_type in ["text/plain", "application/yaml", "application/jsonp", ""] {
        for method in ["POST", "PUT", "PATCH"] {
            let path = if method == "POST" { "/services" } else { "/services/x" };
            let seen = admin.typed(method, path, content_type, "x").await;
            assert_eq!((seen.status.as_u16(), seen.text.as_str()), (415, ""), "{content_type}");
        }
    }
    let untyped = Request::builder().method("POST").uri("/services").body(Body::from("{}")).unwrap();
    assert_eq!(admin.send(untyped).await.status, 415);
    let (status, body) = admin.bare("POST", "/services").await.status_and_body();
    assert_eq!((status, &body["fields"]), (400, &json!({ "host": "required field missing" })));
    assert_eq!(admin.typed("GET", "/services", "application/json", "{").await.status, 200);
    assert_eq!(admin.typed("DELETE", "/services/x", "text/plain", "{").await.status, 204);
    let json = admin.typed("POST", "/services", "Application/JSON; charset=utf-8", r#"{"host":"h"}"#).await;
    assert_eq!(json.status, 201);
}

#[tokio::test]
async fn several_content_types_are_refused_in_plain_text() {
    let request = Request::builder().method("POST").uri("/services");
    let request = request.header("content-type", "application/json").header("content-type", "text/plain");
    let seen = Admin::new().send(request.body(Body::from("{}")).unwrap()).await;
    assert_eq!((seen.status.as_u16(), seen.text.as_str()), (400, "Multiple Content-Type headers not allowed"));
}

#[tokio::test]
async fn more_than_a_thousand_arguments_are_refused() {
    let admin = Admin::new();
    let many = vec!["a=1"; 1001].join("&");
    let refused = (400, json!({ "message": "Too many arguments" }));
    assert_eq!(admin.get(&format!("/services?{many}")).await, refused);
    assert_eq!(admin.form("POST", "/services", &many).await, refused);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let admin = Admin::with_limits(Limits { body_bytes: 16, ..Limits::default() });
    let seen = admin.typed("POST", "/services", "application/json", "{\"host\":\"longer.than.that\"}").await;
    assert_eq!(seen.status_and_body(), (413, json!({ "message": "Payload too large" })));
}

#[tokio::test]
async fn a_body_over_the_limit_is_read_before_it_is_refused() {
    let admin = Admin::with_limits(Limits { body_bytes: 16, ..Limits::default() });
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let part = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"12345678"))
    };
    let parts = futures::stream::iter((0..5).map(part));
    let request = Request::builder().method("POST").uri("/services").header("content-type", "application/json");
    let seen = admin.send(request.header("content-length", 40).body(Body::from_stream(parts)).unwrap()).await;
    assert_eq!((seen.status.as_u16(), read.load(Ordering::Relaxed)), (413, 5));
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_408() {
    let admin = Admin::with_limits(Limits { body_timeout: Duration::from_millis(1), ..Limits::default() });
    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let request = Request::builder().method("POST").uri("/services").header("content-type", "application/json");
    assert_eq!(admin.send(request.body(never).unwrap()).await.status, 408);
}

#[tokio::test]
async fn more_concurrent_requests_than_the_limit_are_503() {
    let admin = Admin::with_limits(Limits { concurrent_requests: 0, ..Limits::default() });
    let seen = admin.bare("GET", "/services").await;
    assert_eq!((seen.status.as_u16(), seen.header("retry-after")), (503, "1"));
}

#[tokio::test]
async fn forms_and_multipart_are_typed_by_the_schema() {
    let admin = Admin::new();
    let (status, route) = admin
        .form("POST", "/routes", "name=r&hosts[]=a.test&hosts[]=b.test&strip_path=false&regex_priority=5&tags=x")
        .await;
    assert_eq!(status, 201, "{route}");
    assert_eq!(route["hosts"], json!(["a.test", "b.test"]));
    assert_eq!((&route["strip_path"], &route["regex_priority"]), (&json!(false), &json!(5)));
    assert_eq!(route["tags"], json!(["x"]));
    let (status, cleared) = admin.form("PATCH", "/routes/r", "name=").await;
    assert_eq!((status, &cleared["name"]), (200, &Value::Null));

    let body = "--b\r\nContent-Disposition: form-data; name=\"host\"\r\n\r\nm.test\r\n\
                --b\r\nContent-Disposition: form-data; name=\"tags\"\r\nContent-Type: application/json\r\n\r\n[\"t\"]\r\n\
                --b\r\nContent-Disposition: form-data; name=\"port\"; filename=\"f\"\r\n\r\n8080\r\n--b--\r\n";
    let (status, service) =
        admin.typed("POST", "/services", "multipart/form-data; boundary=b", body).await.status_and_body();
    assert_eq!(status, 201, "{service}");
    assert_eq!((&service["host"], &service["tags"], &service["port"]), (&json!("m.test"), &json!(["t"]), &json!(8080)));
    let broken = admin.typed("POST", "/services", "multipart/form-data", "x").await;
    assert_eq!(broken.status, 400);
}

#[tokio::test]
async fn names_may_be_encoded_and_a_trailing_slash_is_ignored() {
    let admin = Admin::new();
    let id = admin.made("/services/", json!({ "name": "café", "host": "h" })).await;
    for path in ["/services/caf%C3%A9", "/services/caf%C3%A9/", &format!("/services/{}", id.to_uppercase())] {
        assert_eq!(admin.get(path).await.1["id"], json!(id), "{path}");
    }
}

#[tokio::test]
async fn a_nul_in_text_is_a_schema_violation() {
    let admin = Admin::new();
    let (status, body) = admin.json("POST", "/consumers", json!({ "username": "a\u{0}b" })).await;
    assert_eq!((status, &body["code"]), (400, &json!(2)));
    assert_eq!(admin.get("/consumers/a%00b").await, not_found());
}

#[tokio::test]
async fn forms_are_utf8_or_refused() {
    let admin = Admin::new();
    let (form, multipart) = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b");
    let part = |name: &[u8], value: &[u8]| {
        let head: &[u8] = b"--b\r\nContent-Disposition: form-data; name=\"";
        [head, name, b"\"\r\n\r\n", value, b"\r\n--b--\r\n"].concat()
    };
    let refused = (400, json!({ "message": "Cannot parse form body: names and values must be UTF-8" }));
    let json = (400, json!({ "message": "Cannot parse JSON body" }));
    for (content_type, body, expected) in [
        (form, b"username=%FF".to_vec(), &refused),
        (form, b"username=\xff".to_vec(), &refused),
        (form, b"username=a&%C3=b".to_vec(), &refused),
        (multipart, part(b"username", b"\xff"), &refused),
        (multipart, part(b"user\xff", b"a"), &refused),
        ("application/json", b"{\"username\":\"\xff\"}".to_vec(), &json),
    ] {
        let request = Request::post("/consumers").header("content-type", content_type).body(Body::from(body.clone()));
        assert_eq!(admin.send(request.unwrap()).await.status_and_body(), *expected, "{}", body.escape_ascii());
    }
    assert_eq!(admin.get("/consumers").await.1["data"], json!([]));
    assert_eq!(admin.form("POST", "/consumers", "username=%EF%BF%BD%C3%A9+%zz").await.1["username"], "\u{FFFD}é %zz");
}

#[tokio::test]
async fn a_405_lists_the_allowed_methods() {
    let admin = Admin::new();
    for (method, path, allow) in [
        ("PATCH", "/services", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/services/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("POST", "/status", "GET, HEAD, OPTIONS"),
    ] {
        let seen = admin.bare(method, path).await;
        assert_eq!((seen.status.as_u16(), seen.header("allow")), (405, allow), "{method} {path}");
    }
}

/// It is no time-out: the client would send it again.
#[tokio::test]
async fn a_body_with_an_invalid_chunk_is_400_and_ends_its_connection() {
    for chunks in ["\r\n{}\r\n0\r\n\r\n", "2;\nxx\r\n45\r\n0\r\n\r\n", "+2\r\n{}\r\n0\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(axum::serve(listener, crate::router(Admin::new().0)).into_future());
        let head = "POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let next = "GET /services HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write_all(format!("{head}{chunks}{next}").as_bytes()).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let message = r#"{"message":"Cannot read the body: it ends too early, or its framing is invalid"}"#;
        assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with(message), "{chunks:?}: {text}");
    }
}
