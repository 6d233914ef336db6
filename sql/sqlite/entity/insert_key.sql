-- Claims a unique value. No row: another entity has it. Waits for a concurrent transaction that
-- claims it.
INSERT INTO entity_keys (kind, field, value, id) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (kind, field, value) DO NOTHING
