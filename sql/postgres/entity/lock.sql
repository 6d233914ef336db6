-- Takes the entity for this transaction: nobody else changes it, and no new reference to it is
-- made, before the commit.
SELECT id, body::text, expires_at FROM entities WHERE kind = $1 AND id = $2 FOR UPDATE
