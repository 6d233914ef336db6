-- Deletes a token and inserts its successor, both or neither. ?1 to ?13 are the successor, ?14 the
-- refresh token, ?15 the current time, ?16 this write. ?17 is what a repeated refresh gets, if anything, until
-- ?18. ?19 is the scope that the successor was narrowed from. A second use of the refresh token is noticed until ?21,
-- unless that is null, and ends nothing until ?20. The deleted row is copied to the changes
-- first, since it is lost once it is deleted.
INSERT INTO changes (kind, operation, id, key, origin, created_at)
SELECT 'oauth2_tokens', 'deleted', id, access_token, ?16, ?15 FROM oauth2_tokens
WHERE refresh_token = ?14 AND credential_id = ?5 AND (ttl IS NULL OR ttl >= ?15)
  AND EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?5)
  AND (?6 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?6));
DELETE FROM oauth2_tokens WHERE refresh_token = ?14 AND changes() > 0
RETURNING id, access_token;
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, binding, granted_scope, imported)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?19, 0
WHERE changes() > 0;
INSERT INTO oauth2_recent_refreshes (refresh_token, token_id, sealed, expires_at)
SELECT ?14, ?1, ?17, ?18 WHERE changes() > 0 AND ?17 IS NOT NULL
ON CONFLICT (refresh_token) DO UPDATE
SET token_id = excluded.token_id, sealed = excluded.sealed, expires_at = excluded.expires_at;
INSERT INTO oauth2_used_grants (digest, family, credential_id, tolerated_until, expires_at)
SELECT ?14, ?12, ?5, ?20, ?21 FROM oauth2_tokens WHERE id = ?1 AND ?21 IS NOT NULL
ON CONFLICT (digest) DO UPDATE
SET family = excluded.family, credential_id = excluded.credential_id,
    tolerated_until = excluded.tolerated_until, expires_at = excluded.expires_at
