-- Inserts a token for the Admin API and returns whether its client and its service exist; it is
-- inserted if they do. The change is recorded because a cache may hold a chosen value as unknown.
-- ?14 is whether the value was chosen, ?15 the current time, ?16 this write.
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, binding, imported)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14
WHERE EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?5)
  AND (?6 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?6));
INSERT INTO changes (kind, operation, id, key, origin, created_at)
SELECT 'oauth2_tokens', 'created', ?1, ?2, ?16, ?15 WHERE changes() > 0;
SELECT EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?5),
       ?6 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?6)
