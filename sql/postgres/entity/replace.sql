-- Replaces the document of an entity that this transaction has locked.
UPDATE entities SET body = $3::text::json, created_at = $4, expires_at = $5 WHERE kind = $1 AND id = $2
