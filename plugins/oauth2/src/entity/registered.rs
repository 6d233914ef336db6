//! What a client is registered with besides a secret: the method by which it authenticates, its keys (RFC 7591 §2,
//! RFC 7523), and its certificate (RFC 8705 §2).

use std::sync::Arc;

use serde_json::{Map, Value};
use tollgate_core::collection::Document;
use tollgate_core::schema::{Field, Rule, Schema, Type};
use tollgate_jose::KeySet;

use super::credential::Unreadable;

/// The methods (RFC 7591 §2, RFC 8705 §2), with their registered names.
const METHODS: [(&str, Method); 6] = [
    ("client_secret_basic", Method::ClientSecretBasic),
    ("client_secret_post", Method::ClientSecretPost),
    ("private_key_jwt", Method::PrivateKeyJwt),
    ("tls_client_auth", Method::TlsClientAuth),
    ("self_signed_tls_client_auth", Method::SelfSignedTlsClientAuth),
    ("none", Method::None),
];

/// How a client authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// With its secret, in the header.
    ClientSecretBasic,
    /// With its secret, in the body.
    ClientSecretPost,
    /// With an assertion that it has signed.
    PrivateKeyJwt,
    /// With a certificate that an authority has issued to its subject.
    TlsClientAuth,
    /// With a certificate of its own.
    SelfSignedTlsClientAuth,
    /// Not at all: it is public.
    None,
}

impl Method {
    /// The names of all methods.
    pub fn names() -> Vec<&'static str> {
        METHODS.iter().map(|(name, _)| *name).collect()
    }

    /// The method of this name.
    pub fn named(name: &str) -> Option<Self> {
        METHODS.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self).map_or("none", |(name, _)| name)
    }

    /// Whether the client authenticates with a secret.
    pub fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// Why an assertion is not accepted, whoever the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssertionFault {
    /// Its type is another.
    Type,
    /// It is no signed JWT, or a claim is missing or of the wrong type.
    Malformed,
    /// Issuer, subject and `client_id` differ.
    Client,
    /// It is for another audience.
    Audience,
    /// It has expired, is not valid yet, or lives too long.
    Time,
    /// It was presented before.
    Replayed,
}

impl AssertionFault {
    /// `error_description`.
    pub fn description(self) -> &'static str {
        match self {
            Self::Type => "client_assertion_type must be that of a JWT (RFC 7523)",
            Self::Malformed => "The client assertion must be a signed JWT with iss, sub, aud, exp and jti",
            Self::Client => "iss and sub of the client assertion must be the client_id",
            Self::Audience => "aud of the client assertion must be the issuer or the address of the token endpoint",
            Self::Time => "The client assertion has expired, is not valid yet, or is valid for more than an hour",
            Self::Replayed => "The client assertion was presented before",
        }
    }
}

/// What a client is registered with.
#[derive(Debug, Clone, Default)]
pub struct Registered {
    /// Its only method; `None`: its secret, or an assertion if it has keys.
    pub method: Option<Method>,
    /// Its public keys.
    pub keys: Option<Arc<KeySet>>,
    /// The subject of its certificate.
    pub subject: Option<Subject>,
    /// The thumbprint of its certificate, as in `x5t#S256`.
    pub thumbprint: Option<String>,
    /// What it says that it always does.
    pub always: Always,
}

/// What a client always does, so that a request in which it does not is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Always {
    /// It proves its key with each token request (RFC 9449 §5.2).
    pub proves_key: bool,
    /// Its tokens are bound to its certificate (RFC 8705 §3.4).
    pub has_certificate: bool,
    /// It pushes its authorization requests (RFC 9126 §6).
    pub pushes: bool,
}

/// The names under which a client registers them.
pub const ALWAYS: [&str; 3] =
    ["dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens", "require_pushed_authorization_requests"];

impl Registered {
    /// Whether the client may authenticate so.
    pub fn permits(&self, method: Method) -> bool {
        self.method.is_none_or(|only| only == method)
    }
}

/// The fields of a credential.
pub(super) fn fields() -> Vec<Field> {
    let [key, certificate, pushed] = ALWAYS;
    vec![
        Field::new(key, Type::Boolean).optional().describe(
            "Whether the client proves its key (DPoP) with every token request; others are refused (RFC 9449 section 5.2).",
        ),
        Field::new(certificate, Type::Boolean).optional().describe(
            "Whether the client's tokens are bound to its certificate; other token requests are refused (RFC 8705 section 3.4).",
        ),
        Field::new(pushed, Type::Boolean).optional().describe(
            "Whether the client pushes its authorization requests; others are refused (RFC 9126 section 6).",
        ),
        Field::string("token_endpoint_auth_method")
            .optional()
            .one_of(&METHODS.map(|(name, _)| name))
            .describe("The only way in which the client authenticates (RFC 7591); null: its secret, or an assertion if it has `jwks`."),
        Field::record("jwks", Schema::new(vec![Field::array("keys", Field::record("", jwk())).required()]).overall(check_keys))
            .optional()
            .describe("The public keys with which the client signs assertions (RFC 7523), as a JWK set."),
        Field::string("tls_client_auth_subject_dn")
            .optional()
            .rule(Rule::Custom("distinguished_name", check_subject))
            .describe("The subject of the client's certificate, for `tls_client_auth`: a distinguished name (RFC 4514)."),
        Field::string("tls_client_certificate_thumbprint")
            .optional()
            .rule(Rule::Custom("thumbprint", check_thumbprint))
            .describe("The SHA-256 thumbprint of the client's certificate in base64url, for `self_signed_tls_client_auth`."),
    ]
}

/// A public key (RFC 7517 §4, RFC 7518 §6).
fn jwk() -> Schema {
    let texts = ["use", "alg", "kid", "crv", "x", "y", "n", "e", "x5t", "x5t#S256"];
    let mut fields = vec![Field::string("kty").required()];
    fields.extend(texts.map(|name| Field::string(name).optional()));
    fields.push(Field::strings("key_ops").optional());
    fields.push(Field::strings("x5c").optional());
    Schema::new(fields)
}

fn check_keys(jwks: &Value) -> Result<(), String> {
    let set = key_set(jwks).map_err(|_| "expected a JWK set with at most 200 keys".to_owned())?;
    match set.skipped().first_key_value() {
        None => Ok(()),
        Some((reason, _)) => Err(format!("a key cannot be used: {reason}")),
    }
}

fn key_set(jwks: &Value) -> Result<KeySet, tollgate_jose::MalformedKeySet> {
    KeySet::from_members(&without_nulls(jwks).as_object().cloned().unwrap_or_default())
}

/// Members that were not given are stored as null.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let given = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(given.map(|(name, value)| (name.clone(), without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(elements) => Value::Array(elements.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn check_subject(value: &Value) -> Result<(), String> {
    value.as_str().and_then(Subject::parse).map(drop).ok_or_else(|| {
        "expected a distinguished name (RFC 4514) with one attribute each, such as CN=client,O=Example".to_owned()
    })
}

fn check_thumbprint(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let is_of_digest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_thumbprint = text.len() == 43 && text.bytes().all(is_of_digest);
    if is_thumbprint { Ok(()) } else { Err("expected a SHA-256 digest in base64url without padding".to_owned()) }
}

impl TryFrom<&Document> for Registered {
    type Error = Unreadable;

    fn try_from(document: &Document) -> Result<Self, Unreadable> {
        let unreadable = |field| move || Unreadable { field };
        let method = document
            .text("token_endpoint_auth_method")
            .map(|named| Method::named(named).ok_or_else(unreadable("token_endpoint_auth_method")));
        let keys = document.get("jwks").filter(|jwks| !jwks.is_null()).map(key_set).transpose();
        let subject = document.text("tls_client_auth_subject_dn");
        let subject = subject.map(|text| Subject::parse(text).ok_or_else(unreadable("tls_client_auth_subject_dn")));
        Ok(Self {
            method: method.transpose()?,
            keys: keys.map_err(|_| Unreadable { field: "jwks" })?.map(Arc::new),
            subject: subject.transpose()?,
            thumbprint: document.text("tls_client_certificate_thumbprint").map(str::to_owned),
            always: {
                let [proves_key, has_certificate, pushes] = ALWAYS.map(|name| document.flag(name) == Some(true));
                Always { proves_key, has_certificate, pushes }
            },
        })
    }
}

/// A distinguished name (RFC 4514), whose relative names have one attribute each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(Vec<(String, String)>);

impl Subject {
    /// Reads one. `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut attributes = Vec::new();
        for part in split(text, ',')? {
            let (kind, value) = part.split_once('=')?;
            let kind = kind.trim();
            let is_kind = !kind.is_empty()
                && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
            // A second attribute in a relative name.
            if !is_kind || split(value, '+')?.len() != 1 {
                return None;
            }
            attributes.push((kind.to_ascii_uppercase(), unescaped(value.trim())?));
        }
        (!attributes.is_empty()).then_some(Self(attributes))
    }

    /// Whether these attributes, the most specific first, are the same, by exact values.
    pub fn is(&self, attributes: &[(String, String)]) -> bool {
        let same = |(own, other): (&(String, String), &(String, String))| {
            own.0.eq_ignore_ascii_case(&other.0) && own.1 == other.1
        };
        self.0.len() == attributes.len() && self.0.iter().zip(attributes).all(same)
    }
}

/// The parts between separators that are not escaped.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == separator {
            parts.push(text.get(start..index)?);
            start = index + character.len_utf8();
        }
    }
    parts.push(text.get(start..)?);
    (!escaped).then_some(parts)
}

/// `\,` is a comma, `\2C` too (RFC 4514 §2.4). A value in hexadecimal (`#…`) is not read.
fn unescaped(value: &str) -> Option<String> {
    if value.is_empty() || value.starts_with('#') {
        return None;
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match rest {
            [high, low, more @ ..] if digit(*high).is_some() && digit(*low).is_some() => {
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = more;
            }
            [character, more @ ..] => {
                bytes.push(*character);
                rest = more;
            }
            [] => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_jose::Algorithm;
    use tollgate_jose::testing::SigningKey;

    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_subject_is_compared_by_its_attributes_rfc8705_2_1_2() {
        let certificate = attributes(&[("CN", "client, one"), ("O", "Exämple"), ("1.2.3", "x")]);
        for (text, expected) in [
            (r"CN=client\, one,O=Exämple,1.2.3=x", true),
            (r"cn=client\2c one, o = Ex\c3\a4mple , 1.2.3=x", true),
            (r"CN=client\, one,O=exämple,1.2.3=x", false),
            (r"O=Exämple,CN=client\, one,1.2.3=x", false),
            (r"CN=client\, one,O=Exämple", false),
            (r"CN=client\, one,O=Exämple,1.2.3=x,C=DE", false),
        ] {
            assert_eq!(Subject::parse(text).unwrap().is(&certificate), expected, "{text}");
        }
        for text in ["", "CN", "=a", "CN=", "CN=a,", "CN=a+O=b", r"CN=a\", "C N=a", "CN=#0403", r"CN=\ff"] {
            assert_eq!(Subject::parse(text), None, "{text}");
        }
    }

    #[test]
    fn keys_are_public_and_of_a_kind_that_signs() {
        let key = SigningKey::generate(Algorithm::ES256);
        let with_nulls = |mut jwk: Value| {
            jwk["alg"] = Value::Null;
            json!({"keys": [jwk]})
        };
        let jwk = Value::Object(key.jwk());
        assert_eq!(check_keys(&with_nulls(jwk.clone())), Ok(()));
        assert_eq!(key_set(&with_nulls(jwk)).unwrap().keys().len(), 1);
        assert_eq!(check_keys(&with_nulls(json!({"kty": "EC"}))), Err("a key cannot be used: invalid".to_owned()));
        assert_eq!(check_keys(&with_nulls(json!({"kty": "oct"}))), Err("a key cannot be used: symmetric".to_owned()));
        assert!(jwk_fields().iter().all(|name| !["d", "k", "p"].contains(name)));
    }

    fn jwk_fields() -> Vec<&'static str> {
        jwk().fields.iter().map(|field| field.name).collect()
    }
}
