-- One entity by primary key.
SELECT id, body, expires_at FROM entities WHERE kind = ?1 AND id = ?2
