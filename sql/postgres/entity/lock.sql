-- Locks the entity for this transaction: until the commit, no other transaction changes it or adds
-- a reference to it.
SELECT id, body::text, expires_at FROM entities WHERE kind = $1 AND id = $2 FOR UPDATE
