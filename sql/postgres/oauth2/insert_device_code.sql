-- Stores what a device has begun, unless its client, service or plugin is gone, or the user code is taken. They are
-- locked until this commits, as in insert_code.sql.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $4 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $5 FOR KEY SHARE
), plugin AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'plugins' AND id = $6 FOR KEY SHARE
)
INSERT INTO oauth2_device_codes (
    id, device_code, user_code, credential_id, service_id, plugin_id, scope, poll_interval, created_at, expires_at,
    binding)
SELECT $1::uuid, $2::bytea, $3::bytea, $4::uuid, $5::uuid, $6::uuid, $7::text, $8::bigint, $9::bigint, $10::bigint,
       $11::text
WHERE EXISTS (SELECT FROM credential) AND ($5::uuid IS NULL OR EXISTS (SELECT FROM service))
  AND EXISTS (SELECT FROM plugin)
ON CONFLICT (user_code) DO NOTHING
RETURNING id
