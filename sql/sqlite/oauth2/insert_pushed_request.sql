-- Stores a pushed request unless its client or plugin is gone. The writer's transaction keeps them from being
-- deleted.
INSERT INTO oauth2_pushed_requests (reference, credential_id, plugin_id, parameters, expires_at)
SELECT ?1, ?2, ?3, ?4, ?5
WHERE EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?2)
  AND EXISTS (SELECT 1 FROM entities WHERE kind = 'plugins' AND id = ?3)
RETURNING expires_at
