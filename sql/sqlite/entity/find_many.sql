-- What is announced to the listeners: the documents as they are now, not as a write left them.
SELECT id, body, expires_at FROM entities WHERE kind = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2))
