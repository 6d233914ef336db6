-- Deletes a token for the Admin API. ?2 is the current time, ?3 this write. The row is copied to
-- the changes first, since it is lost once it is deleted.
INSERT INTO changes (kind, operation, id, key, origin, created_at)
SELECT 'oauth2_tokens', 'deleted', id, access_token, ?3, ?2 FROM oauth2_tokens
WHERE id = ?1 AND (ttl IS NULL OR ttl >= ?2);
DELETE FROM oauth2_tokens WHERE id = ?1 AND changes() > 0
RETURNING id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
       authenticated_userid, scope, family, binding
