-- The current documents of changed entities, for the listeners: a later write may have changed them
-- again.
SELECT id, body, expires_at FROM entities WHERE kind = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2))
