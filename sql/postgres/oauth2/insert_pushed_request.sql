-- Stores a pushed request unless its client or plugin is gone. They are locked until this commits, as in
-- insert_code.sql.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $2 FOR KEY SHARE
), plugin AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'plugins' AND id = $3 FOR KEY SHARE
)
INSERT INTO oauth2_pushed_requests (reference, credential_id, plugin_id, parameters, expires_at)
SELECT $1::bytea, $2::uuid, $3::uuid, $4::text, $5::bigint
WHERE EXISTS (SELECT FROM credential) AND EXISTS (SELECT FROM plugin)
RETURNING expires_at
