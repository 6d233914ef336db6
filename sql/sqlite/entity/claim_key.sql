-- Claims a unique value for an entity of a declaration. No row: another entity has it.
INSERT INTO entity_keys (kind, field, value, id) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (kind, field, value) DO NOTHING
RETURNING field, value
