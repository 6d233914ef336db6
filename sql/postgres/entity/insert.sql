-- Inserts an entity. No row: the id is taken.
INSERT INTO entities (kind, id, body, created_at, expires_at) VALUES ($1, $2, $3::text::json, $4, $5)
ON CONFLICT (kind, id) DO NOTHING
