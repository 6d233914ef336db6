-- Inserts an entity of a declaration, or replaces the one with its id.
INSERT INTO entities (kind, id, body, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (kind, id) DO UPDATE
SET body = excluded.body, created_at = excluded.created_at, expires_at = excluded.expires_at
