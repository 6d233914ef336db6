//! The profiles `kong` and `bcp` of the oauth2 plugin: each behaviour on both, what is counted and said of it, and what
//! belongs to it: scopes at the gateway, two secrets at once, and the data of a consent page.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application, REDIRECT_URI};
use tollgate_tests::{Gateway, Reply, Store, Upstream};

/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// An API on each profile.
struct Pair {
    gateway: Gateway,
    _upstream: Upstream,
    kong: Api,
    bcp: Api,
    client: Application,
}

impl Pair {
    async fn start() -> Self {
        let gateway = Gateway::on_sqlite().await;
        let upstream = Upstream::start().await;
        let kong = Api::protected(&gateway, "kong", &upstream, json!({})).await;
        let bcp = Api::protected(&gateway, "bcp", &upstream, json!({"profile": "bcp"})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        Self { gateway, _upstream: upstream, kong, bcp, client }
    }

    async fn authorize(&self, api: &Api, client: &Application, changes: &[(&str, &str)]) -> Reply {
        let mut form = vec![
            ("provision_key", api.provision_key()),
            ("authenticated_userid", "kate"),
            ("client_id", client.id()),
            ("response_type", "code"),
            ("scope", "email profile"),
        ];
        form.extend(changes);
        api.authorize(&self.gateway, &form).await
    }

    /// A code for a PKCE request.
    async fn code(&self, api: &Api) -> String {
        let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256"), ("redirect_uri", REDIRECT_URI)];
        code_of(&self.authorize(api, &self.client, &pkce).await.expect(200))
    }

    /// Redeems it.
    async fn redeem(&self, api: &Api, code: &str, changes: &[(&str, &str)]) -> Reply {
        let mut form = vec![("grant_type", "authorization_code"), ("code", code)];
        form.extend(changes);
        self.token(api, &form).await
    }

    async fn token(&self, api: &Api, form: &[(&str, &str)]) -> Reply {
        let mut whole = vec![("client_id", self.client.id()), ("client_secret", self.client.secret())];
        whole.extend(form);
        api.token(&self.gateway, &whole).await
    }

    /// The token response to a sound code exchange.
    async fn tokens(&self, api: &Api) -> Value {
        let code = self.code(api).await;
        self.redeem(api, &code, &[("code_verifier", VERIFIER), ("redirect_uri", REDIRECT_URI)]).await.expect(200).json()
    }
}

fn code_of(reply: &Reply) -> String {
    let redirect = url::Url::parse(reply.json()["redirect_uri"].as_str().unwrap()).unwrap();
    redirect.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned()
}

fn text<'v>(document: &'v Value, name: &str) -> &'v str {
    document[name].as_str().unwrap_or_else(|| panic!("no {name} in {document}"))
}

fn refusal(error: &str, description: &str) -> Value {
    json!({"error": error, "error_description": description})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_bound_to_its_request_on_profile_bcp_rfc9700_2_1() {
    let pair = Pair::start().await;
    // On profile kong neither a redirect URI nor PKCE is needed by a confidential client, and a verifier is ignored.
    let code = pair.kong.code(&pair.gateway, &pair.client).await;
    pair.redeem(&pair.kong, &code, &[("code_verifier", VERIFIER)]).await.expect(200);
    let code = pair.code(&pair.kong).await;
    pair.redeem(&pair.kong, &code, &[("code_verifier", VERIFIER)]).await.expect(200);
    let refused = pair.redeem(&pair.kong, &code, &[]).await.expect(400).json();
    assert_eq!(refused, refusal("invalid_request", "Invalid code"));

    let refused = pair.authorize(&pair.bcp, &pair.client, &[]).await.expect(400).json();
    let redirect = text(&refused, "redirect_uri").to_owned();
    assert!(redirect.contains("error=invalid_request") && redirect.contains("confidential"), "{redirect}");
    let code = pair.code(&pair.bcp).await;
    let without_uri = pair.redeem(&pair.bcp, &code, &[("code_verifier", VERIFIER)]).await.expect(400).json();
    assert_eq!(without_uri, refusal("invalid_grant", "Invalid code"));
    let without_verifier = pair.redeem(&pair.bcp, &code, &[("redirect_uri", REDIRECT_URI)]).await.expect(400).json();
    assert_eq!(
        without_verifier,
        refusal("invalid_request", "code_verifier is required for PKCE authorization requests")
    );
    let both = [("code_verifier", VERIFIER), ("redirect_uri", REDIRECT_URI)];
    pair.redeem(&pair.bcp, &code, &both).await.expect(200);
    let again = pair.redeem(&pair.bcp, &code, &both).await.expect(400).json();
    assert_eq!(again, refusal("invalid_grant", "Invalid code"));

    // One field is enough to accept what the profile refuses.
    let config = json!({"config": {"pkce": "lax", "redirect_uri_binding": false, "verifier_without_challenge": false}});
    pair.gateway.change(&format!("/plugins/{}", text(&pair.bcp.plugin, "id")), config).await;
    let code = code_of(&pair.authorize(&pair.bcp, &pair.client, &[]).await.expect(200));
    let surplus = pair.redeem(&pair.bcp, &code, &[("code_verifier", VERIFIER)]).await.expect(400).json();
    assert_eq!(surplus, refusal("invalid_grant", "Invalid code"));
    pair.redeem(&pair.bcp, &code, &[]).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_presented_in_the_header_over_https_on_profile_bcp_rfc6750_2() {
    let pair = Pair::start().await;
    let bad = |description: &str| refusal("invalid_request", description);
    let in_header = "The access token must be presented in the header";
    for api in [&pair.kong, &pair.bcp] {
        let tokens = pair.tokens(api).await;
        let (token, things) = (text(&tokens, "access_token"), format!("/{}/things", api.name));
        let query = format!("{things}?access_token={token}");
        let form = [("access_token", token)];
        let request = |method: Method, path: &str| pair.gateway.request(method, path);
        let plain = reqwest::Client::new().get(pair.gateway.plain_url(&things)).bearer_auth(token);
        pair.gateway.send(request(Method::GET, &things).bearer_auth(token)).await.expect(200);
        for (way, description) in [
            (request(Method::GET, &query), in_header),
            (request(Method::POST, &things).form(&form), in_header),
            (request(Method::POST, &things).json(&json!({"access_token": token})), in_header),
            (plain, "The access token must be presented over HTTPS"),
            (request(Method::GET, &query).bearer_auth(token), "The access token must be presented once"),
            (request(Method::POST, &things).form(&form).bearer_auth(token), "The access token must be presented once"),
            (request(Method::POST, &query).form(&form), "The access token must be presented once"),
        ] {
            let reply = pair.gateway.send(way).await;
            if api.name == "kong" {
                reply.expect(200);
                continue;
            }
            let reply = reply.expect(400);
            assert_eq!(reply.json(), bad(description));
            let challenge = format!("Bearer error=\"invalid_request\", error_description=\"{description}\"");
            assert_eq!(reply.header("www-authenticate"), Some(challenge));
        }
        // Without a token it is as ever, over HTTP too.
        let bare = reqwest::Client::new().get(pair.gateway.plain_url(&things));
        let reply = pair.gateway.send(bare).await.expect(401);
        assert_eq!(reply.json(), bad("The access token is missing"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_authenticate_and_ask_for_scopes_as_the_profile_says() {
    let pair = Pair::start().await;
    let public = Application::register(&pair.gateway, "public", json!({"client_type": "public"})).await;
    for api in [&pair.kong, &pair.bcp] {
        let is_kong = api.name == "kong";
        let form = [("grant_type", "client_credentials"), ("client_id", public.id())];
        let reply = api.token(&pair.gateway, &form).await;
        if is_kong {
            reply.expect(200);
        } else {
            let expected = refusal("unauthorized_client", "The client must not use this grant_type");
            assert_eq!(reply.expect(400).json(), expected);
        }
        let path = format!("/{}/oauth2/token?client_secret={}", api.name, pair.client.secret());
        let form = [("grant_type", "client_credentials"), ("client_id", pair.client.id())];
        let reply = pair.gateway.send(pair.gateway.request(Method::POST, &path).form(&form)).await;
        if is_kong {
            reply.expect(200);
        } else {
            assert_eq!(reply.expect(400).json(), refusal("invalid_client", "Invalid client authentication"));
        }
        for (scope, kong, bcp) in [
            ("email", "email", Ok("email")),
            ("email  profile", "email profile", Err("scope must be words of printable ASCII between single spaces")),
            ("email email", "email email", Ok("email")),
        ] {
            let form = [("grant_type", "client_credentials"), ("scope", scope)];
            let reply = pair.token(api, &form).await;
            match if is_kong { Ok(kong) } else { bcp } {
                Err(description) => assert_eq!(reply.expect(400).json(), refusal("invalid_scope", description)),
                Ok(granted) => {
                    let issued = reply.expect(200).json();
                    let named = issued.get("scope").and_then(Value::as_str);
                    assert_eq!(named, Some(granted).filter(|granted| !is_kong && *granted != scope), "{issued}");
                    let shown =
                        pair.gateway.admin_get(&format!("/oauth2_tokens/{}", text(&issued, "access_token"))).await;
                    assert_eq!(shown.expect(200).json()["scope"], granted);
                }
            }
        }
        let body = json!({
            "grant_type": "client_credentials", "scope": ["email"], "client_id": pair.client.id(),
            "client_secret": pair.client.secret(),
        });
        let path = format!("/{}/oauth2/token", api.name);
        let reply = pair.gateway.send(pair.gateway.request(Method::POST, &path).json(&body)).await.expect(400);
        assert_eq!(reply.json(), refusal("invalid_scope", "scope must be a string"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_may_narrow_its_scope_on_profile_bcp_rfc6749_6() {
    let pair = Pair::start().await;
    for reuse in [false, true] {
        let config = json!({"config": {"reuse_refresh_token": reuse}});
        pair.gateway.change(&format!("/plugins/{}", text(&pair.bcp.plugin, "id")), config).await;
        let refresh = async |api: &Api, tokens: &Value, scope: Option<&str>| {
            let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", text(tokens, "refresh_token"))];
            form.extend(scope.map(|scope| ("scope", scope)));
            pair.token(api, &form).await
        };
        let scope_of = async |tokens: &Value| {
            let path = format!("/oauth2_tokens/{}", text(tokens, "access_token"));
            pair.gateway.admin_get(&path).await.expect(200).json()["scope"].clone()
        };
        let ignored = refresh(&pair.kong, &pair.tokens(&pair.kong).await, Some("wot")).await.expect(200).json();
        assert_eq!((ignored.get("scope"), scope_of(&ignored).await), (None, json!("email profile")));

        let tokens = pair.tokens(&pair.bcp).await;
        for wider in ["email user", "wot"] {
            let refused = refresh(&pair.bcp, &tokens, Some(wider)).await.expect(400).json();
            let word = wider.rsplit(' ').next().unwrap();
            assert_eq!(refused, refusal("invalid_scope", &format!("'{word}' was not granted")));
        }
        let narrow = refresh(&pair.bcp, &tokens, Some("email")).await.expect(200).json();
        assert_eq!((&narrow["scope"], scope_of(&narrow).await), (&json!("email"), json!("email")));
        // The refresh token still has all that was granted.
        let whole = refresh(&pair.bcp, &narrow, None).await.expect(200).json();
        assert_eq!((whole.get("scope"), scope_of(&whole).await), (None, json!("email profile")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_uris_are_judged_as_the_profile_says_rfc8252_7() {
    let pair = Pair::start().await;
    let native =
        Application::register(&pair.gateway, "native", json!({"redirect_uris": ["http://127.0.0.1/cb"]})).await;
    let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    let asked = |uri: &'static str| [&pkce[..], &[("redirect_uri", uri)]].concat();
    let mismatch = "Invalid redirect_uri that does not match with any redirect_uri created with the application";
    for api in [&pair.kong, &pair.bcp] {
        let other = pair.authorize(api, &native, &asked("http://evil.test/cb")).await.expect(400).json();
        let any_port = pair.authorize(api, &native, &asked("http://127.0.0.1:5123/cb")).await;
        if api.name == "kong" {
            assert!(text(&other, "redirect_uri").starts_with("http://127.0.0.1/cb?error=invalid_request"), "{other}");
            any_port.expect(400);
        } else {
            assert_eq!(other, refusal("invalid_request", mismatch));
            let redirect = any_port.expect(200).json();
            assert!(text(&redirect, "redirect_uri").starts_with("http://127.0.0.1:5123/cb?code="), "{redirect}");
        }
    }
    let uri = json!({"name": "own", "redirect_uris": ["com.example.app:/cb"]});
    let refused = pair.gateway.admin(Method::POST, "/consumers/native/oauth2", uri).await.expect(400).json();
    assert_eq!(refused["fields"], json!({"redirect_uris": ["cannot parse 'com.example.app:/cb'"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_profile_is_a_setting_of_the_node() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_OAUTH2_DEFAULT_PROFILE", "bcp")]).await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let config = &api.plugin["config"];
    assert_eq!((&config["profile"], &config["pkce"]), (&json!(null), &json!("strict")));
    assert_eq!((&config["hide_credentials"], &config["token_in_query"]), (&json!(true), &json!(null)));
    let kong = json!({"name": "oauth2", "config": {"profile": "kong", "enable_client_credentials": true}});
    let kong = gateway.create("/plugins", kong).await;
    assert_eq!((&kong["config"]["pkce"], &kong["config"]["hide_credentials"]), (&json!("lax"), &json!(false)));

    // Credentials belong to no plugin. A generated secret is shown once.
    let client = Application::register(&gateway, "client", json!({"redirect_uris": ["com.example.app:/cb"]})).await;
    assert_eq!(client.credential["hash_secret"], true);
    let path = format!("/consumers/client/oauth2/{}", client.id());
    let stored = gateway.admin_get(&path).await.expect(200).json();
    assert!(text(&stored, "client_secret").starts_with("$pbkdf2-sha512$"), "{stored}");
    let form = [("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", client.secret())];
    api.token(&gateway, &form).await.expect(200);
    let redirect = api
        .authorize(
            &gateway,
            &[
                ("provision_key", api.provision_key()),
                ("authenticated_userid", "kate"),
                ("client_id", client.id()),
                ("response_type", "code"),
                ("code_challenge", CHALLENGE),
                ("redirect_uri", "com.example.app:/cb"),
            ],
        )
        .await
        .expect(200)
        .json();
    assert!(text(&redirect, "redirect_uri").starts_with("com.example.app:/cb?code="), "{redirect}");
    let public = json!({"client_type": "public", "client_secret": null});
    let public = Application::register(&gateway, "public", public).await;
    assert_eq!((&public.credential["client_secret"], &public.credential["hash_secret"]), (&json!(null), &json!(false)));
}

on_both_stores! {
    async fn a_second_use_of_a_code_or_refresh_token_ends_its_family_on_every_node_rfc9700_4_14(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let config = json!({"replay": "revoke", "refresh_grace": 2, "unknown_grant": "invalid_grant"});
        let api = Api::protected(&gateway, "api", &upstream, config).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let code = api.code(&gateway, &client).await;
        let given = api.redeem(&gateway, &client, &code).await.expect(200).json();
        api.get(&gateway, text(&given, "access_token")).await.expect(200);
        let stranger = Application::register(&gateway, "stranger", json!({})).await;
        api.redeem(&gateway, &stranger, &code).await.expect(400);
        api.get(&gateway, text(&given, "access_token")).await.expect(200);
        let refused = api.redeem(&gateway, &client, &code).await.expect(400).json();
        assert_eq!(refused, refusal("invalid_grant", "Invalid code"));
        api.get(&gateway, text(&given, "access_token")).await.expect(401);
        api.refresh(&gateway, &client, text(&given, "refresh_token")).await.expect(400);

        let first = api.tokens(&gateway, &client).await;
        let second = api.refresh(&gateway, &client, text(&first, "refresh_token")).await.expect(200).json();
        let repeated = api.refresh(&gateway, &client, text(&first, "refresh_token")).await.expect(200).json();
        assert_eq!(repeated["access_token"], second["access_token"], "a repetition within the grace");
        let third = api.refresh(&gateway, &client, text(&second, "refresh_token")).await.expect(200).json();
        api.get(&gateway, text(&third, "access_token")).await.expect(200);
        // After the grace the first refresh token ends them all.
        let ended = async {
            loop {
                api.refresh(&gateway, &client, text(&first, "refresh_token")).await.expect(400);
                if api.get(&gateway, text(&third, "access_token")).await.status == 401 {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.expect("the family ends");
        api.refresh(&gateway, &client, text(&third, "refresh_token")).await.expect(400);
        assert!(gateway.output().contains("used a second time"), "{}", gateway.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_that_ends_on_one_node_ends_on_another() {
    let gateway = Gateway::on_postgres().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"replay": "revoke"})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let other = gateway.another_node().await;
    let code = api.code(&gateway, &client).await;
    let given = api.redeem(&gateway, &client, &code).await.expect(200).json();
    api.get(&other, text(&given, "access_token")).await.expect(200);
    api.redeem(&gateway, &client, &code).await.expect(400);
    let ended = async {
        while api.get(&other, text(&given, "access_token")).await.status != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("the family ends there too");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_profile_kong_a_second_use_ends_nothing() {
    let pair = Pair::start().await;
    let code = pair.kong.code(&pair.gateway, &pair.client).await;
    let given = pair.kong.redeem(&pair.gateway, &pair.client, &code).await.expect(200).json();
    pair.kong.redeem(&pair.gateway, &pair.client, &code).await.expect(400);
    let next = pair.kong.refresh(&pair.gateway, &pair.client, text(&given, "refresh_token")).await.expect(200).json();
    let refused =
        pair.kong.refresh(&pair.gateway, &pair.client, text(&given, "refresh_token")).await.expect(400).json();
    assert_eq!(refused, refusal("invalid_request", "Invalid refresh_token"));
    pair.kong.get(&pair.gateway, text(&next, "access_token")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bcp_would_refuse_is_counted_and_refused_by_nobody() {
    let pair = Pair::start().await;
    let (gateway, api, client) = (&pair.gateway, &pair.bcp, &pair.client);
    gateway.change(&format!("/plugins/{}", text(&api.plugin, "id")), json!({"config": {"log_only": true}})).await;
    let given = api.tokens(gateway, client).await;
    let things = format!("/{}/things?access_token={}", api.name, text(&given, "access_token"));
    gateway.send(gateway.request(Method::GET, &things)).await.expect(200);
    gateway.send(gateway.request(Method::GET, &things)).await.expect(200);
    let implicit = [("response_type", "token"), ("code_challenge", CHALLENGE)];
    let form = [("provision_key", api.provision_key()), ("authenticated_userid", "kate"), ("client_id", client.id())];
    api.authorize(gateway, &[&form[..], &implicit].concat()).await.expect(200);
    let password = [&form[..], &[("grant_type", "password"), ("client_secret", client.secret())]].concat();
    api.token(gateway, &password).await.expect(200);
    let id = format!("credential=\"{}\"", text(&client.credential, "id"));
    for (behaviour, expected) in [
        ("pkce", 2.0),
        ("token_in_query", 2.0),
        ("enable_implicit_grant", 1.0),
        ("enable_password_grant", 1.0),
        ("token_in_body", 0.0),
    ] {
        let behaviour = format!("behaviour=\"{behaviour}\"");
        let counted = gateway.metric("tollgate_oauth2_bcp_would_refuse_total", &[&behaviour, &id]).await;
        assert_eq!(counted, expected, "{behaviour}");
    }
    assert!(gateway.output().contains("profile bcp would refuse"), "{}", gateway.output());
    let kong = gateway.metric("tollgate_oauth2_bcp_would_refuse_total", &["behaviour=\"scope_syntax\""]).await;
    assert_eq!(kong, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_start_say_what_each_plugin_permits() {
    let mut pair = Pair::start().await;
    let id = |api: &Api| text(&api.plugin, "id").to_owned();
    let (kong, bcp) = (id(&pair.kong), id(&pair.bcp));
    let (is_valid, said) = pair.gateway.tool(&["check"]);
    assert!(!is_valid, "{said}");
    let grants =
        format!("plugin oauth2 {bcp} of service {}: enable_implicit_grant is true", text(&pair.bcp.service, "id"));
    assert!(said.contains(&grants) && said.contains("enable_password_grant is true"), "{said}");
    let listed = format!("plugin oauth2 {kong} of service {}: profile kong permits", text(&pair.kong.service, "id"));
    assert!(said.contains(&listed) && said.contains("token_in_query: true"), "{said}");

    let sound =
        json!({"config": {"enable_implicit_grant": false, "enable_password_grant": false, "token_expiration": 0}});
    pair.gateway.change(&format!("/plugins/{bcp}"), sound).await;
    let (is_valid, said) = pair.gateway.tool(&["check"]);
    assert!(is_valid && said.contains("warning: ") && said.contains("token_expiration is 0"), "{said}");
    assert!(said.ends_with("The settings are valid.\n"), "{said}");
    pair.gateway.kill();
    pair.gateway.start_again().await;
    let log = pair.gateway.output();
    assert!(log.contains("profile kong permits") && log.contains("token_expiration is 0"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_required_scopes_is_refused_rfc6750_3_1() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({"required_scopes": ["email", "profile"]});
    let api = Api::protected(&gateway, "api", &upstream, config).await;
    let client = Application::register(&gateway, "client", json!({"allowed_scopes": ["email", "profile"]})).await;
    let token = async |scope: &str| {
        let credentials = [("client_id", client.id()), ("client_secret", client.secret())];
        let form = [&credentials[..], &[("grant_type", "client_credentials"), ("scope", scope)]].concat();
        api.token(&gateway, &form).await
    };
    let (one, both) = (token("email").await.expect(200).json(), token("profile email").await.expect(200).json());
    api.get(&gateway, text(&both, "access_token")).await.expect(200);
    let refused = api.get(&gateway, text(&one, "access_token")).await.expect(403);
    let description = "The access token does not have the required scope";
    assert_eq!(refused.json(), refusal("insufficient_scope", description));
    let challenge =
        format!("Bearer error=\"insufficient_scope\", error_description=\"{description}\", scope=\"email profile\"");
    assert_eq!(refused.header("www-authenticate"), Some(challenge));
    let any = json!({"config": {"required_scopes_match": "any"}});
    gateway.change(&format!("/plugins/{}", text(&api.plugin, "id")), any).await;
    api.get(&gateway, text(&one, "access_token")).await.expect(200);
    let refused = token("user").await.expect(400).json();
    assert_eq!(refused, refusal("invalid_scope", "'user' is not allowed for this client"));
    let bad = json!({"config": {"required_scopes": ["a b"]}});
    gateway.admin(Method::PATCH, &format!("/plugins/{}", text(&api.plugin, "id")), bad).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_secret_is_accepted_until_its_time_is_over() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    for hashed in [false, true] {
        let name = format!("client-{hashed}");
        let fields = json!({"client_secret": "old", "hash_secret": hashed});
        let client = Application::register(&gateway, &name, fields).await;
        let path = format!("/consumers/{name}/oauth2/{}", client.id());
        let status = async |secret: &str| {
            let credentials = [("client_id", client.id()), ("client_secret", secret)];
            let form = [&credentials[..], &[("grant_type", "client_credentials")]].concat();
            api.token(&gateway, &form).await.status
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        // A hashed secret is moved as its hash: nobody needs to know it.
        let old = client.credential["client_secret"].clone();
        let rotation = json!({
            "client_secret": "new", "hash_secret": hashed,
            "previous_client_secret": old, "previous_client_secret_expires_at": now + 4,
        });
        let changed = gateway.change(&path, rotation).await;
        assert_eq!(changed["previous_client_secret"], old);
        assert_eq!([status("new").await, status("old").await, status("other").await], [200, 200, 400], "{hashed}");
        let over = async {
            while status("old").await != 400 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), over).await.expect("the old secret ends");
        assert_eq!(status("new").await, 200);
        let half = json!({"previous_client_secret": null});
        let refused = gateway.admin(Method::PATCH, &path, half).await.expect(400).json();
        let together = "all or none of these fields must be set: 'previous_client_secret', \
                        'previous_client_secret_expires_at'";
        assert_eq!(refused["fields"]["@entity"], json!([together]));
        let none = json!({"previous_client_secret": null, "previous_client_secret_expires_at": null});
        gateway.change(&path, none).await;
        let clear = json!({"previous_client_secret": "older", "previous_client_secret_expires_at": now + 1000});
        let stored = gateway.change(&path, clear).await;
        assert_eq!(text(&stored, "previous_client_secret").starts_with("$pbkdf2-sha512$"), hashed);
        assert_eq!(status("older").await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_page_reads_what_it_asks_consent_for() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({"endpoints": ["consent"], "scope_descriptions": {"email": "Read your address"}});
    let api = Api::protected(&gateway, "api", &upstream, config).await;
    let silent = Api::protected(&gateway, "silent", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({"name": "Shoe Store"})).await;
    let ask = async |api: &Api, form: &[(&str, &str)]| {
        let path = format!("/{}/oauth2/consent", api.name);
        gateway.send(gateway.request(Method::POST, &path).form(form)).await
    };
    let form = [("client_id", client.id()), ("scope", "email user"), ("provision_key", api.provision_key())];
    let reply = ask(&api, &form).await.expect(200);
    let expected = json!({
        "client_id": client.id(), "client_name": "Shoe Store", "redirect_uri": REDIRECT_URI,
        "scopes": [
            {"name": "email", "description": "Read your address"},
            {"name": "user", "description": null},
        ],
    });
    assert_eq!((reply.json(), reply.header("cache-control").as_deref()), (expected, Some("no-store")));
    let refused = ask(&api, &form[..2]).await.expect(400).json();
    assert_eq!(refused, refusal("invalid_provision_key", "Invalid provision_key"));
    let wrong = [&form[..1], &[("scope", "wot"), form[2]]].concat();
    assert_eq!(ask(&api, &wrong).await.expect(400).json(), refusal("invalid_scope", "'wot' is an invalid scope"));
    let unknown = [("client_id", "nobody"), form[2]];
    let refused = ask(&api, &unknown).await.expect(400).json();
    assert_eq!(refused, refusal("invalid_client", "Invalid client authentication"));
    // Where the endpoint is not named the path is the upstream's.
    ask(&silent, &form).await.expect(401);
}
