-- Updates a token of the Admin API, if its row is still as the caller has read it, and returns
-- whether its client and its service exist, and whether it was written. $1 to $13 are the new
-- values, $14 whether a new access token was chosen, $15 to $26 the old ones, $27 is the current
-- time, $28 this write. Changes of both access tokens are recorded.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $5 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $6 FOR KEY SHARE
), written AS (
    UPDATE oauth2_tokens
    SET (access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
         authenticated_userid, scope, family, binding, imported)
      = ($2, $3, $4, $5, $6, $7, $8, $9,
         $10, $11, $12, $13, CASE WHEN access_token = $2 THEN imported ELSE $14 END),
        granted_scope = CASE WHEN scope IS NOT DISTINCT FROM $11 THEN granted_scope END
    WHERE id = $1 AND (ttl IS NULL OR ttl >= $27)
      AND (access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
           authenticated_userid, scope, family, binding)
          IS NOT DISTINCT FROM
          ($15::bytea, $16::bytea, $17::text, $18::uuid, $19::uuid, $20::bigint, $21::bigint, $22::bigint,
           $23::text, $24::text, $25::uuid, $26::text)
      AND EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
    RETURNING id
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT DISTINCT 'oauth2_tokens', 'updated', id, key, $28::uuid, $27::bigint
    FROM written, unnest(ARRAY[$15, $2]) AS key
)
SELECT EXISTS (SELECT FROM credential), $6::uuid IS NULL OR EXISTS (SELECT FROM service),
       EXISTS (SELECT FROM written)
