//! The authorization code flow: the user logs in and consents in a browser, the client redeems the code.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::{AuthorizationServer, CLIENT, Format, Product, SCOPE, glewlwyd, oidc_provider};
use crate::browser::{Browser, Locator};

/// What the browser is sent to, and what the client keeps of it.
struct AuthorizationRequest {
    url: Url,
    state: String,
    code_verifier: String,
}

impl AuthorizationServer {
    /// A new authorization request of the client.
    fn authorization_request(&self, format: Format) -> AuthorizationRequest {
        let code_verifier = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let state = Uuid::new_v4().simple().to_string();
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(openssl::sha::sha256(code_verifier.as_bytes()));
        let mut url = Url::parse(self.endpoint("authorization_endpoint")).expect("a URL");
        let mut query = url.query_pairs_mut();
        query.append_pair("response_type", "code").append_pair("client_id", CLIENT.0);
        query.append_pair("redirect_uri", &self.redirect_uri).append_pair("scope", SCOPE).append_pair("state", &state);
        query.append_pair("code_challenge", &challenge).append_pair("code_challenge_method", "S256");
        if let Some(audience) = Self::audience(format) {
            query.append_pair("resource", &audience);
        }
        drop(query);
        AuthorizationRequest { url, state, code_verifier }
    }

    /// The authorization code flow: the user logs in and consents in the browser, and the client redeems the code.
    /// The token response.
    pub async fn code_flow(&self, browser: &Browser, format: Format) -> Value {
        let request = self.authorization_request(format);
        browser.goto(request.url.as_str()).await;
        match self.product {
            Product::OidcProvider => oidc_provider::log_in(browser).await,
            Product::Glewlwyd => glewlwyd::log_in(browser).await,
        }
        let shown: Value = serde_json::from_str(&browser.text(Locator::Css("pre")).await).expect("an echoed request");
        let callback = Url::parse(&self.redirect_uri).unwrap().join(shown["uri"].as_str().unwrap()).unwrap();
        let parameter = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
        assert_eq!(parameter("state").as_deref(), Some(request.state.as_str()), "{callback}");
        let code = parameter("code").unwrap_or_else(|| panic!("no code in {callback}"));
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &request.code_verifier),
        ];
        let audience = Self::audience(format);
        form.extend(audience.as_deref().map(|audience| ("resource", audience)));
        self.post("token_endpoint", CLIENT, &form).await.expect(200).json()
    }
}
