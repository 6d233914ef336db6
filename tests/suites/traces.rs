//! Traces: W3C Trace Context in and out, and spans at a collector that decodes them with OpenTelemetry's own messages.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::recorder::{Recorder, ScriptedResponse, When};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Authority, Collector, Gateway, Store, Upstream};

const PATIENCE: Duration = Duration::from_secs(20);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;

async fn traced(store: Store, collector: &Collector, settings: &[(&str, &str)]) -> Gateway {
    let url = collector.url();
    let all = [&[("TOLLGATE_TRACING_ENDPOINT", url.as_str())], settings].concat();
    Gateway::on(store, &all).await
}

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// Name, kind, name of the parent among the spans, and whether it failed.
fn shape(spans: &[Value]) -> Vec<(String, u8, String, bool)> {
    let name =
        |id: &Value| spans.iter().find(|span| span["id"] == *id).map_or("", |span| span["name"].as_str().unwrap());
    let of = |span: &Value| {
        let kind = u8::try_from(span["kind"].as_u64().unwrap()).unwrap();
        let (own, parent) = (span["name"].as_str().unwrap().to_owned(), name(&span["parent"]).to_owned());
        (own, kind, parent, span["failed"].as_bool().unwrap())
    };
    spans.iter().map(of).collect()
}

fn row(name: &str, kind: u8, parent: &str) -> (String, u8, String, bool) {
    (name.to_owned(), kind, parent.to_owned(), false)
}

fn named<'s>(spans: &'s [Value], name: &str) -> &'s Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no span {name} in {spans:#?}"))
}

async fn a_request_is_traced_from_its_client_to_its_upstream(store: Store) {
    let collector = Collector::start(&[]);
    let headers = tempfile::NamedTempFile::new().unwrap();
    fs::write(headers.path(), "Authorization: Bearer of-the-collector\n\nX-Tenant: a\n").unwrap();
    let file = headers.path().to_str().unwrap();
    let settings = [("TOLLGATE_TRACING_SAMPLE_RATIO", "0"), ("TOLLGATE_TRACING_HEADERS_FILE", file)];
    let gateway = traced(store, &collector, &settings).await;
    gateway.secrets.add("of-the-collector");
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let tokens = api.tokens(&gateway, &client).await;
    let token = tokens["access_token"].as_str().unwrap();

    // Over HTTP/2 with a look-up, then over HTTP/1.1 without one.
    let urls = [gateway.url("/api/x?color=green"), gateway.plain_url("/api/x?color=green")];
    for (url, trace, version) in [(&urls[0], TRACE, "2"), (&urls[1], "1af7651916cd43dd8448eb211c80319c", "1.1")] {
        let parent = format!("00-{trace}-{PARENT}-01");
        let request = gateway.client.get(url).bearer_auth(token).header("traceparent", parent);
        let request = request.header("tracestate", "one=1").header("tracestate", "two=2");
        let reply = gateway.send(request).await;
        let seen = reply.expect(200).json();
        let spans = collector.spans(trace, if version == "2" { 4 } else { 3 }).await;
        let mut expected = vec![row("GET api", SERVER, ""), row("plugins", INTERNAL, "GET api")];
        expected.extend((version == "2").then(|| row("store look-up", INTERNAL, "plugins")));
        expected.push(row("upstream", CLIENT, "GET api"));
        assert_eq!(shape(&spans), expected);
        let attempt = named(&spans, "upstream");
        let outgoing = format!("00-{trace}-{}-01", attempt["id"].as_str().unwrap());
        assert_eq!(seen["headers"]["traceparent"], json!([outgoing]));
        assert_eq!(seen["headers"]["tracestate"], json!(["one=1", "two=2"]));
        assert!(
            spans.iter().all(|span| span["state"] == "one=1,two=2" && span["began"].as_u64() <= span["ended"].as_u64())
        );
        let request = &spans[0];
        assert_eq!((&request["parent"], &request["flags"]), (&json!(PARENT), &json!(0x301)));
        let mut attributes = request["attributes"].clone();
        assert!(attributes.as_object_mut().unwrap().remove("tollgate.request_id").is_some());
        let port = if version == "2" { gateway.https.port() } else { gateway.http.port() };
        let expected = json!({
            "http.request.method": "GET", "url.path": "/api/x", "network.protocol.name": "http",
            "network.protocol.version": version, "url.scheme": if version == "2" { "https" } else { "http" },
            "server.port": port, "client.address": "127.0.0.1", "network.peer.address": "127.0.0.1",
            "tollgate.route": "api", "tollgate.service": "api", "http.response.status_code": 200,
        });
        assert_eq!(attributes, expected);
        let port: u16 = upstream.authority().rsplit(':').next().unwrap().parse().unwrap();
        let expected = json!({
            "http.request.method": "GET", "tollgate.service": "api", "server.address": "127.0.0.1", "server.port": port,
            "network.peer.address": "127.0.0.1", "network.peer.port": port, "http.response.status_code": 200,
        });
        assert_eq!(attempt["attributes"], expected);
    }
    let call = &collector.calls()[0];
    assert_eq!((&call["line"], &call["scope"]), (&json!("POST /v1/traces"), &json!("tollgate")));
    assert_eq!(call["headers"]["authorization"], "Bearer of-the-collector");
    assert_eq!((&call["headers"]["x-tenant"], &call["resource"]["service.name"]), (&json!("a"), &json!("tollgate")));
    let text = collector.text();
    for secret in [token, "color", client.secret()] {
        assert!(!text.contains(secret), "{secret} is in a span");
    }
    assert!(gateway.output().contains(TRACE), "the access log names the trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_traced_from_its_client_to_its_upstream_on_sqlite() {
    a_request_is_traced_from_its_client_to_its_upstream(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_traced_from_its_client_to_its_upstream_on_postgres() {
    a_request_is_traced_from_its_client_to_its_upstream(Store::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_an_authority_and_each_attempt_upstream_are_spans() {
    let collector = Collector::start(&[]);
    let gateway = traced(Store::Sqlite, &collector, &[]).await;
    let attempts = AtomicUsize::new(0);
    let upstream = Recorder::start(When::Complete, move |_| match attempts.fetch_add(1, Ordering::SeqCst) {
        0 => ScriptedResponse::close(""),
        _ => ScriptedResponse::ok("hello"),
    })
    .await;
    let authority = Authority::start().await;
    authority.knows("a-token-of-theirs", json!({}));
    gateway.secrets.add("a-token-of-theirs");
    gateway.create("/services", json!({"name": "api", "url": upstream.url()})).await;
    gateway.create("/services/api/routes", json!({"name": "api", "paths": ["/api"]})).await;
    let config = json!({"introspection_url": authority.url(), "authorization_value": "Basic eDp5"});
    gateway.create("/services/api/plugins", json!({"name": "oauth2-introspection", "config": config})).await;

    let request =
        gateway.request(Method::GET, "/api").bearer_auth("a-token-of-theirs").header("traceparent", sampled());
    assert_eq!(gateway.send(request).await.expect(200).body, "hello");
    let spans = collector.spans(TRACE, 6).await;
    let failed = ("upstream".to_owned(), CLIENT, "GET api".to_owned(), true);
    assert_eq!(
        shape(&spans),
        [
            row("GET api", SERVER, ""),
            row("plugins", INTERNAL, "GET api"),
            row("token look-up", INTERNAL, "plugins"),
            row("authority call", CLIENT, "token look-up"),
            failed,
            row("upstream", CLIENT, "GET api"),
        ]
    );
    let call = &named(&spans, "authority call")["attributes"];
    assert_eq!((&call["server.address"], &call["http.response.status_code"]), (&json!("127.0.0.1"), &json!(200)));
    let received = upstream.requests();
    for (span, request) in spans[4..].iter().zip(&received) {
        let parent = format!("00-{TRACE}-{}-01", span["id"].as_str().unwrap());
        assert_eq!(request.header("traceparent"), [parent]);
    }
    assert_eq!(spans[4]["attributes"]["error.type"], "ConnectionClosed");
    assert_eq!(spans[5]["attributes"]["http.request.resend_count"], 1);
    assert!(!collector.text().contains("a-token-of-theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_not_recorded_and_upstreams_are_told_so() {
    let collector = Collector::start(&[]);
    let gateway = traced(Store::Sqlite, &collector, &[("TOLLGATE_TRACING_SAMPLE_RATIO", "0")]).await;
    let ignoring = [("TOLLGATE_TRACING_SAMPLE_RATIO", "0"), ("TOLLGATE_TRACING_FOLLOW_PARENT", "false")];
    let ignoring = traced(Store::Sqlite, &collector, &ignoring).await;
    let upstream = Upstream::start().await;
    for gateway in [&gateway, &ignoring] {
        Api::open(gateway, "api", &upstream).await;
    }
    let headers = async |gateway: &Gateway, given: &[(&str, &str)]| {
        let request = given
            .iter()
            .fold(gateway.request(Method::GET, "/api"), |request, (name, value)| request.header(*name, *value));
        gateway.send(request).await.expect(200).json()["headers"].clone()
    };
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    let seen = headers(&gateway, &[("traceparent", &unsampled), ("tracestate", "a=b")]).await;
    assert_eq!((&seen["traceparent"], &seen["tracestate"]), (&json!([unsampled]), &json!(["a=b"])));
    let seen = headers(&ignoring, &[("traceparent", &sampled())]).await;
    assert_eq!(seen["traceparent"], json!([sampled()]));
    // A trace that begins here, also where the header is not valid.
    for given in [&[][..], &[("traceparent", "00-nonsense"), ("tracestate", "a=b")]] {
        let seen = headers(&gateway, given).await;
        let parent = seen["traceparent"][0].as_str().unwrap().to_owned();
        assert!(parent.len() == 55 && parent.ends_with("-00") && !parent.contains("nonsense"), "{parent}");
        assert_eq!(seen["traceparent"].as_array().unwrap().len(), 1);
        assert_eq!(seen["tracestate"], Value::Null);
    }
    // What is sampled arrives later than all of these would have.
    headers(&gateway, &[("traceparent", &sampled())]).await;
    collector.spans(TRACE, 3).await;
    let all = collector.calls().iter().map(|call| call["spans"].as_array().unwrap().len()).sum::<usize>();
    assert_eq!(all, 3, "{}", collector.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_headers_of_traces_pass_as_they_are() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    let request = gateway.request(Method::GET, "/api").header("traceparent", sampled()).header("tracestate", "a=b");
    let seen = gateway.send(request).await.expect(200).json()["headers"].clone();
    assert_eq!((&seen["traceparent"], &seen["tracestate"]), (&json!([sampled()]), &json!(["a=b"])));
    let seen = gateway.send(gateway.request(Method::GET, "/api")).await.expect(200).json()["headers"].clone();
    assert_eq!((&seen["traceparent"], &seen["tracestate"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_a_collector_does_not_take_are_sent_again_or_counted() {
    let collector = Collector::start(&[503, 429, 200, 400]);
    let settings = [("TOLLGATE_TRACING_SAMPLE_RATIO", "1"), ("TOLLGATE_TRACING_QUEUE_SIZE", "1")];
    let gateway = traced(Store::Sqlite, &collector, &settings).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    let count =
        async |result: &str| gateway.metric("tollgate_trace_spans_total", &[&format!("result=\"{result}\"")]).await;
    let until = async |result: &str| {
        let deadline = Instant::now() + PATIENCE;
        while count(result).await < 1.0 {
            assert!(Instant::now() < deadline, "no span is {result}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    gateway.send(gateway.request(Method::GET, "/api")).await.expect(200);
    until("exported").await;
    assert_eq!(count("failed").await, 0.0);
    gateway.send(gateway.request(Method::GET, "/api")).await.expect(200);
    until("failed").await;
    // Three spans a request find a queue of one: nobody waits.
    let deadline = Instant::now() + PATIENCE;
    while count("dropped").await < 1.0 {
        assert!(Instant::now() < deadline, "no span is dropped");
        gateway.send(gateway.request(Method::GET, "/api")).await.expect(200);
    }
    let output = gateway.output();
    assert!(output.contains("the collector of traces has not taken spans"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_is_sent_before_the_process_ends() {
    let collector = Collector::start(&[]);
    let mut gateway = traced(Store::Sqlite, &collector, &[]).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    gateway.send(gateway.request(Method::GET, "/api").header("traceparent", sampled())).await.expect(200);
    gateway.ask_to_end();
    assert!(gateway.ended_within(PATIENCE).await.success());
    assert_eq!(collector.spans(TRACE, 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_traces_from_being_sent_is_found_before_the_start() {
    let gateway = Gateway::on_sqlite().await;
    let folder = gateway.directory();
    fs::write(folder.join("headers"), "Authorization: Bearer hidden\nhidden too\n").unwrap();
    let on = "tracing.endpoint=http://127.0.0.1:4318/v1/traces";
    let check = |set: &[&str]| {
        let flags = set.iter().flat_map(|pair| ["--set", *pair]);
        let (passed, output) = gateway.tool(&["check"].into_iter().chain(flags).collect::<Vec<_>>());
        (passed, output.replace(folder.to_str().unwrap(), "FOLDER"))
    };
    assert!(check(&[on]).0, "{}", check(&[on]).1);
    let expected =
        "expected off, or the URL of a collector for OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces";
    let headers = folder.join("headers");
    let rows = [
        ("tracing.endpoint=localhost:4317".to_owned(), format!("tracing.endpoint: {expected}")),
        ("tracing.endpoint=http://u:hidden@h/".to_owned(), "tracing.endpoint: must not contain credentials".to_owned()),
        (
            "tracing.endpoint=http://h/?key=hidden".to_owned(),
            "tracing.endpoint: must not contain credentials".to_owned(),
        ),
        ("tracing.sample_ratio=2".to_owned(), "tracing.sample_ratio: expected a number from 0 to 1".to_owned()),
        ("tracing.headers_file=/nowhere".to_owned(), "tracing.headers_file: cannot read /nowhere".to_owned()),
        (format!("tracing.headers_file={}", headers.display()), "line 2 of FOLDER/headers is no header".to_owned()),
        ("tracing.ca_file=/dev/null".to_owned(), "tracing.ca_file: cannot use /dev/null".to_owned()),
    ];
    for (set, expected) in rows {
        let (passed, output) = check(&[on, &set]);
        assert!(!passed && output.contains(&expected) && !output.contains("hidden"), "{set}: {output}");
    }
}
