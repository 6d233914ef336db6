-- Inserts a code unless its client, service or plugin is gone. They are locked until this commits:
-- a concurrent deletion of one of them waits, and then deletes this code too.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $3 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $4 FOR KEY SHARE
), plugin AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'plugins' AND id = $5 FOR KEY SHARE
)
INSERT INTO oauth2_authorization_codes (
    id, code, credential_id, service_id, plugin_id, authenticated_userid, scope, challenge,
    challenge_method, redirect_uri, created_at, ttl, binding)
SELECT $1::uuid, $2::bytea, $3::uuid, $4::uuid, $5::uuid, $6::text, $7::text, $8::text,
       $9::text, $10::text, $11::bigint, $12::bigint, $13::text
WHERE EXISTS (SELECT FROM credential) AND ($4::uuid IS NULL OR EXISTS (SELECT FROM service))
  AND ($5::uuid IS NULL OR EXISTS (SELECT FROM plugin))
RETURNING id
