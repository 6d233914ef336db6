-- Inserts an issued token, unless its client or service is gone. The writer's transaction keeps
-- both from being deleted.
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, binding, imported)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0
WHERE EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?5)
  AND (?6 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?6))
RETURNING id
