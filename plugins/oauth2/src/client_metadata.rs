//! What a client registers about itself (RFC 7591 §2): read, checked, and completed with defaults. What is not known is
//! ignored; what is known has its form, or the client is refused.
//!
//! Anybody may send this, and users are shown parts of it, so everything has a length.

use serde_json::{Map, Value, json};
use tollgate_plugin::json_object;
use url::{Host, Url};

use crate::config::Config;
use crate::config::endpoints::Name;
use crate::config::grants::RegistrationMode;
use crate::config::sender::Requirement;
use crate::entity::registered::{ALWAYS, Method};
use crate::error::Refusal;
use crate::profile::Permission;
use crate::redirect_uri::is_private_use;

mod identity;

pub use identity::Identity;

const MOST_URIS: usize = 20;
const MOST_BYTES: usize = 2000;
const MOST_NAME_BYTES: usize = 200;

/// The device grant's name.
pub const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Texts that are kept as they are.
const TEXTS: [&str; 2] = ["software_id", "software_version"];
/// Addresses of pages for users.
const PAGES: [&str; 4] = ["client_uri", "logo_uri", "policy_uri", "tos_uri"];

/// The metadata of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMetadata {
    /// Its name for users; `None`: its id.
    pub name: Option<String>,
    /// Where browsers may be sent.
    pub redirect_uris: Vec<String>,
    /// The grants that it may use.
    pub grant_types: Vec<String>,
    /// How it authenticates.
    pub auth_method: Method,
    /// What it authenticates with instead of a secret.
    pub identity: Identity,
    /// The scope that it may request.
    pub scope: Option<String>,
    /// What it always does, by its registered names.
    pub always: Vec<&'static str>,
    response_types: Vec<&'static str>,
    others: Map<String, Value>,
}

/// What a client had registered before.
#[derive(Debug, Clone, Copy)]
pub enum Before<'m> {
    /// Nothing: it registers.
    Nothing,
    /// This: it changes.
    Registered(&'m Map<String, Value>),
}

impl ClientMetadata {
    /// Reads a body. A repeated member is refused: readers would disagree on it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(config: &Config, body: &[u8], before: Before<'_>) -> Result<(Self, Map<String, Value>), Refusal> {
        let members = json_object::members(body).ok_or_else(|| invalid("the body is not a JSON object"))?;
        let mut given = Map::new();
        for member in members {
            if given.insert(member.name.clone(), member.value).is_some() {
                return Err(invalid(&format!("{} must not be repeated", shortened(&member.name))));
            }
        }
        // RFC 7591 §2: null is as absent.
        given.retain(|_, value| !value.is_null());
        Ok((Self::checked(config, &given, before)?, given))
    }

    fn checked(config: &Config, given: &Map<String, Value>, before: Before<'_>) -> Result<Self, Refusal> {
        let auth_method = auth_method(config, given)?;
        let identity = Identity::read(auth_method, given)?;
        let grant_types = grant_types(config, given, before)?;
        let response_types = response_types(given, &grant_types)?;
        let redirect_uris = redirect_uris(config, given)?;
        if redirect_uris.is_empty() && !response_types.is_empty() {
            return Err(Refusal::RedirectUriMetadata("redirect_uris is required for these grant_types".to_owned()));
        }
        if auth_method == Method::None && grant_types.iter().any(|grant| grant == "client_credentials") {
            return Err(invalid("a client without authentication must not use client_credentials"));
        }
        let name = text(given, "client_name", MOST_NAME_BYTES)?.filter(|name| !name.trim().is_empty());
        Ok(Self {
            name,
            redirect_uris,
            grant_types,
            auth_method,
            identity,
            scope: scope(config, given)?,
            always: always(config, given)?,
            response_types,
            others: others(given)?,
        })
    }

    /// As it is registered (RFC 7591 §3.2.1).
    pub fn document(&self) -> Map<String, Value> {
        let mut document = self.others.clone();
        let mut add = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
        if let Some(name) = &self.name {
            add("client_name", json!(name));
        }
        if !self.redirect_uris.is_empty() {
            add("redirect_uris", json!(self.redirect_uris));
        }
        if let Some(scope) = &self.scope {
            add("scope", json!(scope));
        }
        self.always.iter().for_each(|name| add(name, json!(true)));
        add("grant_types", json!(self.grant_types));
        add("response_types", json!(self.response_types));
        add("token_endpoint_auth_method", json!(self.auth_method.as_str()));
        if let Some(jwks) = &self.identity.jwks {
            add("jwks", jwks.clone());
        }
        if let Some(subject) = &self.identity.subject {
            add("tls_client_auth_subject_dn", json!(subject));
        }
        document
    }
}

fn invalid(text: &str) -> Refusal {
    Refusal::ClientMetadata(text.to_owned())
}

/// A text of the client in an error.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

fn text(given: &Map<String, Value>, name: &str, most: usize) -> Result<Option<String>, Refusal> {
    let Some(value) = given.get(name) else { return Ok(None) };
    let text = value.as_str().ok_or_else(|| invalid(&format!("{name} is not a string")))?;
    if text.len() > most || text.contains(char::is_control) {
        return Err(invalid(&format!("{name} is longer than {most} bytes or has control characters")));
    }
    Ok(Some(text.to_owned()))
}

fn texts(given: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, Refusal> {
    let Some(value) = given.get(name) else { return Ok(None) };
    let wrong =
        || invalid(&format!("{name} is not an array of at most {MOST_URIS} strings without control characters"));
    let is_plain = |text: &&str| text.len() <= MOST_BYTES && !text.contains(char::is_control);
    let values = value.as_array().filter(|values| values.len() <= MOST_URIS).ok_or_else(wrong)?;
    let texts = values.iter().map(|value| value.as_str().filter(is_plain).map(str::to_owned));
    texts.collect::<Option<Vec<_>>>().map(Some).ok_or_else(wrong)
}

/// One of those that the instance has. Without a choice of the client's it is the RFC's default.
fn auth_method(config: &Config, given: &Map<String, Value>) -> Result<Method, Refusal> {
    let Some(name) = text(given, "token_endpoint_auth_method", MOST_BYTES)? else {
        return Ok(Method::ClientSecretBasic);
    };
    let has_certificates = config.sender.certificates != Requirement::Off;
    let is_offered = |method: &Method| match method {
        Method::TlsClientAuth | Method::SelfSignedTlsClientAuth => has_certificates,
        _ => true,
    };
    Method::named(&name).filter(is_offered).ok_or_else(|| {
        let offered = Method::names().into_iter().filter(|name| Method::named(name).as_ref().is_some_and(is_offered));
        invalid(&format!("token_endpoint_auth_method must be one of {}", offered.collect::<Vec<_>>().join(", ")))
    })
}

/// Of the requested grants those that the instance has (RFC 7591 §3.2.1 lets it replace what was requested). Who
/// registers without a token gets no grant that needs no user, and does not get it by a change either.
fn grant_types(config: &Config, given: &Map<String, Value>, before: Before<'_>) -> Result<Vec<String>, Refusal> {
    let code = config.enable_authorization_code;
    let device = config.endpoints.names.has(Name::Device);
    let trusted = match before {
        Before::Nothing => config.grants.registration == Some(RegistrationMode::Token),
        Before::Registered(metadata) => {
            let grants = metadata.get("grant_types").and_then(Value::as_array);
            grants.is_some_and(|grants| grants.iter().any(|grant| grant == "client_credentials"))
        }
    };
    let has = |grant: &str| match grant {
        "authorization_code" => code,
        "implicit" => config.enable_implicit_grant,
        "refresh_token" => code || device,
        "client_credentials" => config.enable_client_credentials && trusted,
        DEVICE_CODE => device,
        _ => false,
    };
    let requested = texts(given, "grant_types")?.unwrap_or_else(|| vec!["authorization_code".to_owned()]);
    let mut granted: Vec<String> = Vec::new();
    for grant in requested.into_iter().filter(|grant| has(grant)) {
        if !granted.contains(&grant) {
            granted.push(grant);
        }
    }
    // Codes come with refresh tokens here.
    if granted.iter().any(|grant| grant == "authorization_code" || grant == DEVICE_CODE)
        && !granted.iter().any(|grant| grant == "refresh_token")
    {
        granted.push("refresh_token".to_owned());
    }
    match granted.iter().any(|grant| grant != "refresh_token") {
        true => Ok(granted),
        false => Err(invalid("none of these grant_types may be registered here")),
    }
}

/// Those that belong to the grants (RFC 7591 §2.1). Others that were requested are refused, unless their grant is not
/// there.
fn response_types(given: &Map<String, Value>, grant_types: &[String]) -> Result<Vec<&'static str>, Refusal> {
    let has = |grant: &str| grant_types.iter().any(|known| known == grant);
    let of_grants: Vec<&'static str> = [("code", "authorization_code"), ("token", "implicit")]
        .into_iter()
        .filter(|(_, grant)| has(grant))
        .map(|(name, _)| name)
        .collect();
    match texts(given, "response_types")? {
        Some(requested) if requested.iter().any(|name| name != "code" && name != "token") => {
            Err(invalid("response_types must be code or token"))
        }
        Some(_) | None => Ok(of_grants),
    }
}

/// RFC 7591 §5: `https`, or what only the user's own device receives: a loopback address, or the scheme of an
/// application (RFC 8252 §7), without a host only where the instance sends browsers there.
fn redirect_uris(config: &Config, given: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let uris = texts(given, "redirect_uris")
        .map_err(|_| Refusal::RedirectUriMetadata("redirect_uris is not an array of strings".to_owned()))?;
    let uris = uris.unwrap_or_default();
    for uri in &uris {
        redirect_uri(uri, config.profile.private_use_redirect)
            .map_err(|why| Refusal::RedirectUriMetadata(format!("{}: {why}", shortened(uri))))?;
    }
    Ok(uris)
}

/// Whether a URI may contain this byte as it is (RFC 3986 §2).
fn is_of_uris(byte: u8) -> bool {
    byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte)
}

fn redirect_uri(uri: &str, private_use: Permission) -> Result<(), &'static str> {
    // Browsers and others read what is no URI in different ways (RFC 3986 §2).
    if !uri.bytes().all(is_of_uris) {
        return Err("has characters that no URI has");
    }
    let url = Url::parse(uri).map_err(|_| "not an absolute URI")?;
    if url.fragment().is_some() {
        return Err("must have no fragment");
    }
    let authority = uri.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err("must name no user");
    }
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" if url.has_host() => Ok(()),
        "http" if is_loopback => Ok(()),
        "http" => Err("must be https, unless the host is a loopback address"),
        _ if private_use == Permission::Refused && is_private_use(uri) => Err("must have a host"),
        // A domain name of the application's owner, reversed (RFC 8252 §7.1): no scheme of browsers has a dot.
        scheme if scheme.contains('.') => Ok(()),
        _ => Err("must be https, a loopback address, or have a scheme with a dot"),
    }
}

fn scope(config: &Config, given: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    let Some(scope) = text(given, "scope", MOST_BYTES)? else { return Ok(None) };
    let known = config.scopes.as_deref().unwrap_or_default();
    let mut words: Vec<&str> = Vec::new();
    for word in scope.split(' ').filter(|word| !word.is_empty()) {
        if !known.iter().any(|known| known == word) {
            return Err(invalid(&format!("scope {} is unknown", shortened(word))));
        }
        if !words.contains(&word) {
            words.push(word);
        }
    }
    Ok((!words.is_empty()).then(|| words.join(" ")))
}

/// Of what a client may say that it always does, what it can do at the instance. The rest is ignored, as what is unknown.
fn always(config: &Config, given: &Map<String, Value>) -> Result<Vec<&'static str>, Refusal> {
    let can = [
        config.sender.dpop != Requirement::Off,
        config.sender.certificates != Requirement::Off,
        config.endpoints.names.has(Name::Par),
    ];
    let mut found = Vec::new();
    for (name, _) in ALWAYS.into_iter().zip(can).filter(|(_, can)| *can) {
        match given.get(name) {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => found.push(name),
            Some(_) => return Err(invalid(&format!("{name} is not a boolean"))),
        }
    }
    Ok(found)
}

fn others(given: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let mut kept = Map::new();
    for name in TEXTS {
        kept.extend(text(given, name, MOST_NAME_BYTES)?.map(|text| (name.to_owned(), text.into())));
    }
    for name in PAGES {
        let Some(page) = text(given, name, MOST_BYTES)? else { continue };
        let url = Url::parse(&page).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
        let url = url.filter(|_| page.bytes().all(is_of_uris));
        url.ok_or_else(|| invalid(&format!("{name} is not an http or https URL")))?;
        kept.insert(name.to_owned(), page.into());
    }
    if let Some(contacts) = texts(given, "contacts")? {
        kept.insert("contacts".to_owned(), contacts.into());
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    fn read(patch: &Value, given: &Value) -> Result<Value, Refusal> {
        let mut all = json!({"endpoints": ["register"], "registration": "open", "scopes": ["email", "profile"]});
        for (name, value) in patch.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let (metadata, _) = ClientMetadata::read(&config(&all), given.to_string().as_bytes(), Before::Nothing)?;
        Ok(Value::Object(metadata.document()))
    }

    #[test]
    fn what_is_registered_has_its_defaults_and_no_more_than_is_known_rfc7591_2() {
        let uri = "https://app.test/cb";
        let defaults = json!({
            "redirect_uris": [uri], "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"], "token_endpoint_auth_method": "client_secret_basic",
        });
        assert_eq!(
            read(&json!({}), &json!({"redirect_uris": [uri], "unknown": 1, "client_uri": null})).unwrap(),
            defaults
        );
        let all = json!({
            "redirect_uris": ["com.app.test:/cb", "http://127.0.0.1/cb"], "client_name": "An <App>",
            "client_uri": "https://app.test", "contacts": ["a@app.test"], "software_id": "x", "scope": "email",
            "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        });
        assert_eq!(read(&json!({"profile": "bcp"}), &all).unwrap(), all);
    }

    #[test]
    fn who_registers_without_a_token_gets_no_grant_without_a_user() {
        let requested = json!({"redirect_uris": ["https://a.test"], "grant_types": ["client_credentials", "password", "authorization_code"]});
        let granted = |mode: &str| read(&json!({"registration": mode}), &requested).unwrap()["grant_types"].clone();
        assert_eq!(granted("open"), json!(["authorization_code", "refresh_token"]));
        assert_eq!(granted("token"), json!(["client_credentials", "authorization_code", "refresh_token"]));
        let alone = json!({"grant_types": ["client_credentials"]});
        assert!(matches!(read(&json!({}), &alone), Err(Refusal::ClientMetadata(_))));
        let public = json!({"grant_types": ["client_credentials"], "token_endpoint_auth_method": "none"});
        assert!(matches!(read(&json!({"registration": "token"}), &public), Err(Refusal::ClientMetadata(_))));
    }

    #[test]
    fn a_redirect_uri_goes_to_https_or_stays_on_the_device_rfc7591_5() {
        for (uri, accepted) in [
            ("https://app.test/cb?x=1", true),
            ("http://127.0.0.1:8080/cb", true),
            ("http://[::1]/cb", true),
            ("http://localhost/cb", true),
            ("com.example.app:/cb", true),
            ("com.example.app://cb", true),
            ("http://app.test/cb", false),
            ("http://127.0.0.1.app.test/cb", false),
            ("https://app.test/cb#f", false),
            ("https://user@app.test/cb", false),
            ("https://@app.test/cb", false),
            ("https://app.test/cb?at=a@b", true),
            ("https://evil.test\\@app.test/", false),
            ("https://app.test/cb\"<script>", false),
            ("https://app.test/\u{202e}cb", false),
            ("https://é.test/", false),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("myapp://cb", false),
            ("/cb", false),
            ("", false),
        ] {
            let found = read(&json!({"profile": "bcp"}), &json!({"redirect_uris": [uri]}));
            assert_eq!(found.is_ok(), accepted, "{uri}: {found:?}");
            assert!(accepted || matches!(found, Err(Refusal::RedirectUriMetadata(_))), "{uri}");
        }
        assert!(matches!(read(&json!({}), &json!({})), Err(Refusal::RedirectUriMetadata(_))));
        let many = vec!["https://app.test/cb"; MOST_URIS + 1];
        assert!(read(&json!({}), &json!({"redirect_uris": many})).is_err());
    }

    #[test]
    fn a_client_may_register_keys_or_a_certificate_instead_of_a_secret_rfc8705_2() {
        let key = json!({"kty": "EC", "crv": "P-256", "x": "x", "y": "y"});
        let mut certified = key.clone();
        certified["x5c"] = json!(["AAEC"]);
        let with = |method: &str, more: Value| {
            let mut given = json!({"redirect_uris": ["https://a.test"], "token_endpoint_auth_method": method});
            given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            given
        };
        let set = |key: &Value| json!({"jwks": {"keys": [key]}});
        for (given, without, with_certificates) in [
            (with("private_key_jwt", set(&key)), true, true),
            (with("private_key_jwt", json!({"jwks": []})), false, false),
            (with("private_key_jwt", json!({"jwks_uri": "https://a.test/jwks"})), false, false),
            (with("private_key_jwt", json!({"jwks_uri": "https://a.test/jwks", "jwks": {"keys": []}})), false, false),
            (with("tls_client_auth", json!({"tls_client_auth_subject_dn": "CN=a"})), false, true),
            (with("tls_client_auth", json!({})), false, false),
            (
                with(
                    "tls_client_auth",
                    json!({"tls_client_auth_subject_dn": "CN=a", "tls_client_auth_san_dns": "a.test"}),
                ),
                false,
                false,
            ),
            (with("self_signed_tls_client_auth", set(&certified)), false, true),
            (with("self_signed_tls_client_auth", set(&key)), false, false),
            (with("client_secret_jwt", json!({})), false, false),
        ] {
            for (tokens, expected) in [("off", without), ("optional", with_certificates)] {
                let found = read(&json!({"mtls_bound_tokens": tokens}), &given);
                assert_eq!(found.is_ok(), expected, "{tokens} {given}: {found:?}");
            }
        }
        let all = json!({
            "endpoints": ["register"], "registration": "open", "mtls_bound_tokens": "optional",
        });
        let given = with("self_signed_tls_client_auth", set(&certified)).to_string();
        let (metadata, _) = ClientMetadata::read(&config(&all), given.as_bytes(), Before::Nothing).unwrap();
        // The SHA-256 of the bytes 0, 1 and 2.
        assert_eq!(metadata.identity.thumbprint.as_deref(), Some("rksygOVuL6-D9BSm49q-nV--GJdlRMBf7RIazLhbU_w"));
    }

    #[test]
    fn a_redirect_uri_without_a_host_is_for_instances_that_send_browsers_there_rfc8252_7_1() {
        let given = |uri: &str| json!({"redirect_uris": [uri]});
        for (patch, without_host) in [
            (json!({"private_use_redirect_uris": true}), true),
            (json!({"private_use_redirect_uris": false}), false),
            (json!({"profile": "bcp"}), true),
            (json!({"profile": "kong"}), false),
        ] {
            assert_eq!(read(&patch, &given("com.example.app:/cb")).is_ok(), without_host, "{patch}");
            assert!(read(&patch, &given("com.example.app://cb")).is_ok(), "{patch}");
        }
    }

    #[test]
    fn what_a_client_always_does_is_registered_where_it_can_rfc9449_5_2_rfc8705_3_4_rfc9126_6() {
        let given = |value: Value| {
            let mut given = json!({"redirect_uris": ["https://a.test"]});
            ALWAYS.iter().for_each(|name| given[*name] = value.clone());
            given
        };
        let can = json!({"dpop": "optional", "mtls_bound_tokens": "optional", "endpoints": ["register", "par"]});
        for (patch, value, expected) in [
            (&can, json!(true), json!([true, true, true])),
            (&can, json!(false), json!([null, null, null])),
            (&json!({}), json!(true), json!([null, null, null])),
        ] {
            let found = read(patch, &given(value)).unwrap();
            assert_eq!(json!(ALWAYS.map(|name| found[name].clone())), expected, "{patch}");
        }
        assert!(matches!(read(&can, &given(json!("true"))), Err(Refusal::ClientMetadata(_))));
    }

    #[test]
    fn what_has_not_its_form_is_refused_rfc7591_3_2_2() {
        for (field, value) in [
            ("client_name", json!(1)),
            ("client_name", json!("x".repeat(201))),
            ("client_name", json!("a\nb")),
            ("client_uri", json!("javascript:alert(1)")),
            ("logo_uri", json!("x")),
            ("contacts", json!("x")),
            ("scope", json!("email wot")),
            ("scope", json!(["email"])),
            ("grant_types", json!("authorization_code")),
            ("grant_types", json!([])),
            ("response_types", json!(["id_token"])),
            ("token_endpoint_auth_method", json!("private_key_jwt")),
        ] {
            let mut given = json!({"redirect_uris": ["https://a.test"]});
            given[field] = value.clone();
            assert!(matches!(read(&json!({}), &given), Err(Refusal::ClientMetadata(_))), "{field} {value}");
        }
        let config = config(&json!({"endpoints": ["register"], "registration": "open"}));
        for body in ["", "[]", "{\"redirect_uris\":[],\"redirect_uris\":[]}"] {
            assert!(
                matches!(
                    ClientMetadata::read(&config, body.as_bytes(), Before::Nothing),
                    Err(Refusal::ClientMetadata(_))
                ),
                "{body}"
            );
        }
    }
}
