-- One page of a kind, starting at an id.
SELECT id, body::text, expires_at FROM entities WHERE kind = $1 AND id >= $2 ORDER BY id LIMIT $3
