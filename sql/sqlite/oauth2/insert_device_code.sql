-- Stores what a device has begun, unless its client, service or plugin is gone, or the user code is taken. The
-- writer's transaction keeps them from being deleted.
INSERT INTO oauth2_device_codes (
    id, device_code, user_code, credential_id, service_id, plugin_id, scope, poll_interval, created_at, expires_at,
    binding)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
WHERE EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?4)
  AND (?5 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?5))
  AND EXISTS (SELECT 1 FROM entities WHERE kind = 'plugins' AND id = ?6)
ON CONFLICT (user_code) DO NOTHING
RETURNING id
