-- Deletes the code and inserts the token, both or neither. ?1 to ?13 are the token, ?14 the code,
-- ?15 the current time. Until ?16, unless that is null, a second use of the code is noticed.
DELETE FROM oauth2_authorization_codes
WHERE code = ?14 AND credential_id = ?5 AND ttl >= ?15
  AND EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?5)
  AND (?6 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?6));
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, binding, imported)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0
WHERE changes() > 0
RETURNING id;
INSERT INTO oauth2_used_grants (digest, family, credential_id, tolerated_until, expires_at)
SELECT ?14, ?12, ?5, 0, ?16 FROM oauth2_tokens WHERE id = ?1 AND ?16 IS NOT NULL
ON CONFLICT (digest) DO NOTHING
