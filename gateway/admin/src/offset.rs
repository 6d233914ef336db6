//! The `offset` of lists: base64 without padding of a JSON array (gateway.md §3). To
//! clients it is opaque.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use tollgate_core::collection::TagPosition;
use tollgate_core::error::DaoError;
use uuid::Uuid;

const CODEC: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The offset after the entity `last`.
pub(crate) fn after_entity(last: Uuid) -> String {
    encode(&[last.to_string()])
}

/// Parses the output of [`after_entity`].
pub(crate) fn entity(offset: &str) -> Result<Uuid, DaoError> {
    match decode(offset)?.as_slice() {
        [Value::String(id)] => Uuid::parse_str(id).map_err(|_| bad(offset, "bad json encoding")),
        _ => Err(bad(offset, "bad json encoding")),
    }
}

/// The offset after a tag of an entity.
pub(crate) fn after_tag(last: &TagPosition) -> String {
    encode(&[last.entity_id.to_string(), last.tag.clone()])
}

/// Parses the output of [`after_tag`].
pub(crate) fn tag(offset: &str) -> Result<TagPosition, DaoError> {
    match decode(offset)?.as_slice() {
        // Stored text contains no NUL, and PostgreSQL accepts none in a parameter.
        [Value::String(id), Value::String(tag)] if !tag.contains('\0') => {
            let entity_id = Uuid::parse_str(id).map_err(|_| bad(offset, "bad json encoding"))?;
            Ok(TagPosition { entity_id, tag: tag.clone() })
        }
        _ => Err(bad(offset, "bad json encoding")),
    }
}

/// The offset at a position of a list that is ordered otherwise.
pub(crate) fn position(offset: &str) -> Result<usize, DaoError> {
    offset.parse().map_err(|_| bad(offset, "bad base64 encoding"))
}

fn encode(parts: &[String]) -> String {
    CODEC.encode(Value::from(parts).to_string())
}

fn decode(offset: &str) -> Result<Vec<Value>, DaoError> {
    let bytes = CODEC.decode(offset).map_err(|_| bad(offset, "bad base64 encoding"))?;
    serde_json::from_slice(&bytes).map_err(|_| bad(offset, "bad json encoding"))
}

fn bad(offset: &str, why: &'static str) -> DaoError {
    DaoError::InvalidOffset { offset: offset.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(result: Result<Uuid, DaoError>) -> &'static str {
        match result {
            Err(DaoError::InvalidOffset { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_offset_is_unpadded_base64_of_a_json_array() {
        let id = Uuid::from_u128(7);
        let offset = after_entity(id);
        assert_eq!(offset, "WyIwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDciXQ");
        assert_eq!(entity(&offset).unwrap(), id);
    }

    #[test]
    fn a_tag_offset_keeps_entity_and_tag() {
        let position = TagPosition { entity_id: Uuid::from_u128(7), tag: "später \"x\"".to_owned() };
        assert_eq!(tag(&after_tag(&position)).unwrap(), position);
    }

    #[test]
    fn bad_offsets_say_which_encoding_is_bad() {
        assert_eq!(why(entity("x")), "bad base64 encoding");
        assert_eq!(why(entity("*")), "bad base64 encoding");
        assert_eq!(why(entity("")), "bad json encoding");
        assert_eq!(why(entity("aGVsbG8")), "bad json encoding");
        assert_eq!(why(entity(&encode(&["no-uuid".to_owned()]))), "bad json encoding");
        assert_eq!(why(entity(&encode(&["a".to_owned(), "b".to_owned()]))), "bad json encoding");
    }
}
