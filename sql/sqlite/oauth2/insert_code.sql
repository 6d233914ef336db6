-- Inserts a code unless its client, service or plugin is gone. The writer's transaction keeps them
-- from being deleted.
INSERT INTO oauth2_authorization_codes (
    id, code, credential_id, service_id, plugin_id, authenticated_userid, scope, challenge,
    challenge_method, redirect_uri, created_at, ttl, binding)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
WHERE EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?3)
  AND (?4 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?4))
  AND (?5 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'plugins' AND id = ?5))
RETURNING id
