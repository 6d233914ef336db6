-- Updates a token of the Admin API, if its row is still as the caller has read it, and returns
-- whether its client and its service exist, and whether it was written. $1 to $13 are the new
-- values, $14 whether a new access token was chosen, $15 to $26 the old ones, $27 is the current
-- time, $28 this write. Changes of both access tokens are recorded.
-- A row that gets another access token is deleted and inserted: where tokens are distributed by access
-- token, its place changes with it.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $5 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $6 FOR KEY SHARE
), updated AS (
    UPDATE oauth2_tokens
    SET (refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
         authenticated_userid, scope, family, binding)
      = ($3, $4, $5, $6, $7, $8, $9,
         $10, $11, $12, $13),
        granted_scope = CASE WHEN scope IS NOT DISTINCT FROM $11 THEN granted_scope END
    WHERE access_token = $15 AND $2::bytea = $15::bytea AND id = $1 AND (ttl IS NULL OR ttl >= $27)
      AND (refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
           authenticated_userid, scope, family, binding)
          IS NOT DISTINCT FROM
          ($16::bytea, $17::text, $18::uuid, $19::uuid, $20::bigint, $21::bigint, $22::bigint,
           $23::text, $24::text, $25::uuid, $26::text)
      AND EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
    RETURNING id
), taken AS (
    DELETE FROM oauth2_tokens
    WHERE access_token = $15 AND $2::bytea <> $15::bytea AND id = $1 AND (ttl IS NULL OR ttl >= $27)
      AND (refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
           authenticated_userid, scope, family, binding)
          IS NOT DISTINCT FROM
          ($16::bytea, $17::text, $18::uuid, $19::uuid, $20::bigint, $21::bigint, $22::bigint,
           $23::text, $24::text, $25::uuid, $26::text)
      AND EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
    RETURNING id, scope, granted_scope
), moved AS (
    INSERT INTO oauth2_tokens (
        id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
        authenticated_userid, scope, family, binding, granted_scope, imported)
    SELECT id, $2::bytea, $3::bytea, $4::text, $5::uuid, $6::uuid, $7::bigint, $8::bigint, $9::bigint,
           $10::text, $11::text, $12::uuid, $13::text,
           CASE WHEN scope IS NOT DISTINCT FROM $11 THEN granted_scope END, $14::boolean
    FROM taken
), written AS (
    SELECT id FROM updated UNION ALL SELECT id FROM taken
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT DISTINCT 'oauth2_tokens', 'updated', id, key, $28::uuid, $27::bigint
    FROM written, unnest(ARRAY[$15::bytea, $2::bytea]) AS key
)
SELECT EXISTS (SELECT FROM credential), $6::uuid IS NULL OR EXISTS (SELECT FROM service),
       EXISTS (SELECT FROM written)
