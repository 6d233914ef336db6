//! The Step On tutorial, step by step, as in a browser without scripts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tollgate_quickstart::Tutorial;
use tollgate_quickstart::operator::Call;
use tollgate_quickstart::tutorial::Addresses;
use tollgate_tests::{Gateway, Reply};
use url::Url;

/// Starts the tutorial for a gateway on free ports, and returns the calls that configured it.
pub(crate) async fn start(gateway: &Gateway) -> (Tutorial, Vec<Call>) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let narrated = Arc::clone(&calls);
    let mut narrate = move |call: &Call| narrated.lock().unwrap().push(call.clone());
    let addresses = Addresses { step_on: any, shoe_store: any };
    let log = Arc::new(|_: &str| {});
    let tutorial = Tutorial::start(&gateway.addresses, addresses, &mut narrate, log).await.expect("the tutorial");
    gateway.secrets.add(&tutorial.configured.client_secret);
    gateway.secrets.add(&tutorial.configured.provision_key);
    drop(narrate);
    (tutorial, Arc::into_inner(calls).unwrap().into_inner().unwrap())
}

/// A browser: it keeps cookies, and follows redirects one at a time.
struct Visitor {
    client: Client,
}

impl Visitor {
    fn new() -> Self {
        // Step On's certificate is self-signed and new at each start.
        let builder = Client::builder().no_proxy().cookie_store(true).tls_danger_accept_invalid_certs(true);
        Self { client: builder.redirect(reqwest::redirect::Policy::none()).build().unwrap() }
    }

    async fn get(&self, url: &str) -> Reply {
        Reply::read(self.client.get(url).send().await.unwrap()).await
    }

    /// Submits a page's form to `action`.
    async fn press(&self, page: &Reply, action: &Url, button: &[(&str, &str)]) -> Reply {
        let mut form = vec![("form_token".to_owned(), hidden(page, "form_token").expect("a form token"))];
        form.extend(hidden(page, "query").map(|query| ("query".to_owned(), query)));
        form.extend(button.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let response: Response = self.client.post(action.clone()).form(&form).send().await.unwrap();
        Reply::read(response).await
    }
}

fn hidden(page: &Reply, name: &str) -> Option<String> {
    let rest = page.body.split_once(&format!("name=\"{name}\" value=\""))?.1;
    Some(rest.split_once('"')?.0.replace("&quot;", "\"").replace("&lt;", "<").replace("&amp;", "&"))
}

/// Where a response redirects the browser.
#[track_caller]
fn location(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{}", reply.body);
    reply.header("location").expect("a location")
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

on_both_stores! {
    async fn the_store_gets_the_steps_of_a_user_who_consents(gateway: Gateway) {
        let (tutorial, _) = start(&gateway).await;
        let store = tutorial.shoe_store.url();
        let step_on = Url::parse(&format!("https://{}/", tutorial.step_on.address())).unwrap();
        let visitor = Visitor::new();

        // A: the store sends the browser to Step On.
        let page = visitor.get(&store).await.expect(200);
        assert!(page.body.contains("Connect Step On"));
        let question = location(&visitor.get(&format!("{store}connect")).await);
        assert!(question.starts_with(step_on.join("/authorize?").unwrap().as_str()), "{question}");
        assert_eq!(parameter(&question, "client_id").as_deref(), Some(tutorial.configured.client_id.as_str()));
        assert_eq!(parameter(&question, "scope").as_deref(), Some("step_counts"));

        // B: Step On asks the user to log in and to consent.
        let page = visitor.get(&question).await.expect(200);
        let log_in = step_on.join("/login").unwrap();
        let back = location(&visitor.press(&page, &log_in, &[("user", "annie")]).await);
        let page = visitor.get(step_on.join(&back).unwrap().as_str()).await.expect(200);
        for expected in ["annie", "Shoe Fly Shoe", "step_counts", "Allow", "Deny"] {
            assert!(page.body.contains(expected), "{expected} is missing: {}", page.body);
        }
        assert!(!page.body.contains("biometric") && !page.body.contains("user_profile"), "{}", page.body);
        let expected_policy = format!(
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {}",
            store.trim_end_matches('/')
        );
        assert_eq!(page.header("content-security-policy"), Some(expected_policy));

        // Deny: the store gets an error and no data.
        let authorize = step_on.join("/authorize").unwrap();
        let response = location(&visitor.press(&page, &authorize, &[("decision", "deny")]).await);
        assert_eq!(parameter(&response, "error").as_deref(), Some("access_denied"));
        assert_eq!(parameter(&response, "state"), parameter(&question, "state"));
        assert!(visitor.get(&response).await.expect(200).body.contains("No steps shared"));

        // C: Allow.
        let question = location(&visitor.get(&format!("{store}connect")).await);
        let page = visitor.get(&question).await.expect(200);
        let response = location(&visitor.press(&page, &authorize, &[("decision", "allow")]).await);
        gateway.secrets.add_from_url(&response);
        assert!(response.starts_with(&format!("{store}callback?code=")), "{response}");
        assert_eq!(parameter(&response, "state"), parameter(&question, "state"));

        // D, E: the store redeems the code and reads the step counts.
        assert_eq!(location(&visitor.get(&response).await), "/");
        let page = visitor.get(&store).await.expect(200);
        for expected in ["annie", "48000", "9 %"] {
            assert!(page.body.contains(expected), "{expected} is missing: {}", page.body);
        }

        // The API got client, user and scope; no credential is shown.
        assert_eq!(location(&visitor.get(step_on.as_str()).await), "/requests");
        let requests = visitor.get(step_on.join("/requests").unwrap().as_str()).await.expect(200);
        for (header, value) in [
            ("x-consumer-username", "shoeflyshoe"),
            ("x-credential-identifier", tutorial.configured.client_id.as_str()),
            ("x-authenticated-scope", "step_counts"),
            ("x-authenticated-userid", "annie"),
        ] {
            let row = format!("<code>{header}</code></th><td>{value}</td>");
            assert!(requests.body.contains(&row), "{row} is missing: {}", requests.body);
        }
        let flow = visitor.get(&format!("{store}flow")).await.expect(200);
        let titles = ["(step A)", "(step C)", "(steps D and E)", "The store reads the step counts"];
        let places: Vec<_> = titles.iter().map(|title| flow.body.find(title)).collect();
        assert!(places.is_sorted() && places[0].is_some(), "{places:?}: {}", flow.body);
        let code = parameter(&response, "code").unwrap();
        for secret in [code.as_str(), &tutorial.configured.client_secret] {
            assert!(!flow.body.contains(secret) && flow.body.contains(&secret[..6]), "{}", flow.body);
        }
        assert!(flow.body.contains("scope = step_counts") && flow.body.contains("&quot;total&quot;: 48000"), "{}", flow.body);

        // Refresh twice: each refresh token is used once and replaced.
        for _ in 0..2 {
            let refresh = Url::parse(&store).unwrap().join("/refresh").unwrap();
            let page = visitor.get(&store).await.expect(200);
            let again = location(&visitor.press(&page, &refresh, &[]).await);
            let page = visitor.get(Url::parse(&store).unwrap().join(&again).unwrap().as_str()).await.expect(200);
            assert!(page.body.contains("Your step counts are up to date.") && page.body.contains("48000"));
        }

        // The response is valid once, and only in this browser.
        visitor.get(&response).await.expect(400);
        let question = location(&visitor.get(&format!("{store}connect")).await);
        let page = visitor.get(&question).await.expect(200);
        let response = location(&visitor.press(&page, &authorize, &[("decision", "allow")]).await);
        gateway.secrets.add_from_url(&response);
        Visitor::new().get(&response).await.expect(400);

        // The code is not stored in clear text.
        let code = parameter(&response, "code").unwrap();
        assert!(!gateway.at_rest().contains(&code), "the code is stored in clear text");
    }

    async fn an_invalid_client_or_redirect_uri_gets_a_page_and_never_a_redirect(gateway: Gateway) {
        let (tutorial, _) = start(&gateway).await;
        let authorize = format!("https://{}/authorize", tutorial.step_on.address());
        let visitor = Visitor::new();
        let client_id = tutorial.configured.client_id.as_str();
        let good = format!("{}callback", tutorial.shoe_store.url());
        let internal_id = gateway.admin_get(&format!("/oauth2/{client_id}")).await.json()["id"].to_string();
        for (client_id, redirect_uri) in [
            ("", good.as_str()),
            ("nobody", &good),
            ("../consumers/shoeflyshoe", &good),
            (internal_id.trim_matches('"'), &good),
            (client_id, ""),
            (client_id, "https://evil.test/"),
            (client_id, &format!("{good}/")),
            (client_id, &format!("{good}?x=1")),
            (client_id, &format!("{good}@evil.test")),
        ] {
            let mut url = Url::parse(&authorize).unwrap();
            url.query_pairs_mut().append_pair("client_id", client_id).append_pair("redirect_uri", redirect_uri);
            let reply = visitor.get(url.as_str()).await;
            assert_eq!((reply.status, reply.header("location")), (400, None), "{client_id} {redirect_uri}");
            assert!(!reply.body.contains("<form"), "a form for {client_id} {redirect_uri}");
        }
    }

    async fn a_form_of_another_session_is_rejected(gateway: Gateway) {
        let (tutorial, _) = start(&gateway).await;
        let store = tutorial.shoe_store.url();
        let step_on = Url::parse(&format!("https://{}/", tutorial.step_on.address())).unwrap();
        let (annie, mallory) = (Visitor::new(), Visitor::new());
        let mut pages = Vec::new();
        for (visitor, user) in [(&annie, "annie"), (&mallory, "bob")] {
            let question = location(&visitor.get(&format!("{store}connect")).await);
            let page = visitor.get(&question).await.expect(200);
            let back = location(&visitor.press(&page, &step_on.join("/login").unwrap(), &[("user", user)]).await);
            pages.push(visitor.get(step_on.join(&back).unwrap().as_str()).await.expect(200));
        }
        let authorize = step_on.join("/authorize").unwrap();
        // Mallory's form, sent by Annie's browser.
        annie.press(&pages[1], &authorize, &[("decision", "allow")]).await.expect(400);
        location(&annie.press(&pages[0], &authorize, &[("decision", "deny")]).await);
    }

    async fn configuring_again_changes_neither_key_nor_secret(gateway: Gateway) {
        let (first, calls) = start(&gateway).await;
        let made: Vec<_> = calls.iter().map(|call| format!("{} {}", call.method, call.url.path())).collect();
        assert_eq!(made, [
            "PUT /services/stepon",
            "PUT /routes/stepon",
            "GET /services/stepon/plugins",
            "POST /services/stepon/plugins",
            "PUT /consumers/shoeflyshoe",
            "GET /consumers/shoeflyshoe/oauth2",
            "POST /consumers/shoeflyshoe/oauth2",
        ]);
        let config = &calls[3].response["config"];
        assert_eq!(config["scopes"], json!(["user_profile", "biometric", "step_counts"]));
        let (second, _) = start(&gateway).await;
        assert_eq!(first.configured.provision_key, second.configured.provision_key);
        assert_eq!(first.configured.client_id, second.configured.client_id);
        assert_eq!(first.configured.client_secret, second.configured.client_secret);
        for list in ["/services", "/routes", "/plugins", "/consumers", "/oauth2"] {
            assert_eq!(gateway.admin_get(list).await.json()["data"].as_array().unwrap().len(), 1, "{list}");
        }
    }

    async fn the_api_trusts_the_gateway_and_in_direct_calls_the_mock_login(gateway: Gateway) {
        let (tutorial, _) = start(&gateway).await;
        let visitor = Visitor::new();
        let direct = format!("https://{}/stepcounts", tutorial.step_on.address());
        visitor.get(&direct).await.expect(401);
        for (user, total) in [("clark", 96_000), ("annie", 48_000), ("bob", 14_000)] {
            let request = visitor.client.get(&direct).header("mock-logged-in-as", user);
            let reply = Reply::read(request.send().await.unwrap()).await.expect(200);
            assert_eq!(reply.json()["total"], Value::from(total));
        }
        let request = gateway.request(http::Method::GET, "/stepon/stepcounts").header("mock-logged-in-as", "bob");
        gateway.send(request.header("x-authenticated-userid", "bob")).await.expect(401);
    }
}
