//! The `jwt_secrets` kind: the key of a consumer, and what its tokens' signatures are verified with.

use serde_json::{Map, Value, json};
use tollgate_jose::{Algorithm, Family, InvalidKey, RsaSize, VerificationKey};
use tollgate_plugin::{Auto, EntityCheck, Field, Kind, OnDelete, Rule, Schema, field};

/// The kind's name.
pub const NAME: &str = "jwt_secrets";

/// The algorithm of credentials that name none.
pub(crate) const DEFAULT_ALGORITHM: Algorithm = Algorithm::HS256;

/// The kind as data.
pub fn kind() -> Kind {
    Kind::new(NAME, schema()).segment("jwts").nested_segment("jwt").second_key("key")
}

fn schema() -> Schema {
    Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("consumer", "consumers", OnDelete::Cascade).required(),
        // Sent upstream as the identifier of the credential.
        Field::string("key").auto(Auto::RandomString).unique().optional().rule(Rule::HeaderText),
        Field::string("secret").auto(Auto::RandomString).sensitive(),
        Field::string("rsa_public_key"),
        Field::string("algorithm").default(DEFAULT_ALGORITHM.name()).one_of(&Algorithm::ALL.map(Algorithm::name)),
        field::tags(),
    ])
    .describe(&[
        ("consumer", "The consumer of requests with tokens of this credential."),
        ("key", "The value of the claim that names this credential; generated when not given."),
        ("secret", "The secret of tokens that are signed with HMAC; generated when not given."),
        ("rsa_public_key", "The public key, in PEM, of tokens that are signed with any other algorithm."),
        ("algorithm", "The algorithm of the tokens."),
    ])
    .entity_check(public_key_check())
}

fn is_asymmetric(algorithm: Algorithm) -> bool {
    algorithm.family() != Family::Hmac
}

fn public_key_check() -> EntityCheck {
    let asymmetric = Algorithm::ALL.into_iter().filter(|algorithm| is_asymmetric(*algorithm));
    let patterns: Vec<String> = asymmetric.map(|algorithm| format!("^{algorithm}$")).collect();
    let published = json!({"conditional": {
        "if_field": "algorithm", "if_match": {"match_any": {"patterns": patterns}},
        "then_field": "rsa_public_key", "then_match": {"required": true},
    }});
    EntityCheck::Custom {
        published,
        check: |credential, found| {
            if let Err(fault) = check_public_key(credential) {
                found.field("rsa_public_key", fault);
                found.entity("failed conditional validation given value of field 'algorithm'");
            }
        },
    }
}

/// A credential for an algorithm with public keys needs one that the algorithm can use.
fn check_public_key(credential: &Map<String, Value>) -> Result<(), &'static str> {
    let text = |field: &str| credential.get(field).and_then(Value::as_str);
    let Some(algorithm) = text("algorithm").and_then(Algorithm::parse).filter(|named| is_asymmetric(*named)) else {
        return Ok(());
    };
    let pem = text("rsa_public_key").ok_or("required field missing")?;
    public_key(pem, algorithm).map(drop).map_err(|_| "invalid key")
}

/// The public key of a credential. Operators choose its size, as in the compatible gateway.
pub(crate) fn public_key(pem: &str, algorithm: Algorithm) -> Result<VerificationKey, InvalidKey> {
    VerificationKey::from_pem(pem.as_bytes(), algorithm, RsaSize::Any)
}
