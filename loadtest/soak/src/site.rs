//! The two nodes, their PostgreSQL, an upstream and a protected API.

use serde_json::json;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, PostgresServer, Upstream};

/// Lifetime of tokens in seconds; longer than tokens stay in use, and short enough that the store is cleaned of them.
const EXPIRATION: u32 = 90;

/// The token cache holds about as many tokens as are in use: it is full soon, and must evict from then on.
const SETTINGS: [(&str, &str); 4] = [
    ("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8"),
    ("TOLLGATE_ACCESS_LOG", "off"),
    ("TOLLGATE_TOKEN_CACHE_MAX_BYTES", "262144"),
    ("TOLLGATE_PROXY_DRAIN_TIMEOUT", "5s"),
];

/// Everything that a soak needs.
pub(crate) struct Site {
    /// Runs all the time, and is measured.
    pub measured: Gateway,
    /// Is stopped and started again.
    pub restarted: Gateway,
    /// What tokens are for.
    pub api: Api,
    /// Whom they are issued to.
    pub application: Application,
    /// Where requests arrive; it responds with their heads.
    pub upstream: Upstream,
    /// Their store.
    pub server: PostgresServer,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let server = PostgresServer::start().await;
        let measured = Gateway::on_url(&server.url(), &SETTINGS).await;
        let restarted = Gateway::on_url(&server.url(), &SETTINGS).await;
        let upstream = Upstream::of_heads().await;
        let config = json!({"accept_http_if_already_terminated": true, "token_expiration": EXPIRATION});
        let api = Api::protected(&measured, "api", &upstream, config).await;
        let application = Application::register(&measured, "shop", json!({})).await;
        Self { measured, restarted, api, application, upstream, server }
    }
}
