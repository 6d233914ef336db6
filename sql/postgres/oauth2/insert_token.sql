-- Adds an issued token unless its client or service is gone. Both stay until this commits: who
-- deletes one of them waits, and then deletes this token too.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $5 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $6 FOR KEY SHARE
)
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, imported)
SELECT $1::uuid, $2::bytea, $3::bytea, $4::text, $5::uuid, $6::uuid,
           $7::bigint, $8::bigint, $9::bigint, $10::text, $11::text, $12::uuid, false
WHERE EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
RETURNING id
