-- Deletes expired rows: they are invisible, so they must not block new rows with the same id or
-- values.
DELETE FROM oauth2_tokens WHERE ttl < ?4 AND (id = ?1 OR access_token = ?2 OR refresh_token = ?3)
