-- Claims a unique value; no row: another entity has it. Waits for a transaction that is claiming it.
INSERT INTO entity_keys (kind, field, value, id) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (kind, field, value) DO NOTHING
