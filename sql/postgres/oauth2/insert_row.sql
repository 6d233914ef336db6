-- Inserts a token for the Admin API and returns whether its client and its service exist; it is
-- inserted if they do. They are locked until this commits: a concurrent deletion of one of them
-- waits, and then deletes this token too. The change is recorded because a cache may hold a chosen
-- value as unknown. $14 is whether the value was chosen, $15 the current time, $16 this write.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $5 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $6 FOR KEY SHARE
), added AS (
    INSERT INTO oauth2_tokens (
        id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
        authenticated_userid, scope, family, binding, imported)
    SELECT $1::uuid, $2::bytea, $3::bytea, $4::text, $5::uuid, $6::uuid,
           $7::bigint, $8::bigint, $9::bigint, $10::text, $11::text, $12::uuid, $13::text, $14::boolean
    WHERE EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
    RETURNING id, access_token
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT 'oauth2_tokens', 'created', id, access_token, $16, $15 FROM added
)
SELECT EXISTS (SELECT FROM credential), $6::uuid IS NULL OR EXISTS (SELECT FROM service)
