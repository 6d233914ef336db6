-- Reads the entity that is about to be written; the writer's transaction already excludes others.
SELECT id, body, expires_at FROM entities WHERE kind = ?1 AND id = ?2
