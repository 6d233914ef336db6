-- Updates a token of the Admin API, if its row is still as the caller has read it, and returns
-- whether its client and its service exist, and whether it was written. $1 to $12 are the new
-- values, $13 whether a new access token was chosen, $14 to $24 the old ones, $25 is the current
-- time, $26 this write. Changes of both access tokens are recorded.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $5 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $6 FOR KEY SHARE
), written AS (
    UPDATE oauth2_tokens
    SET (access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
         authenticated_userid, scope, family, imported)
      = ($2, $3, $4, $5, $6, $7, $8, $9,
         $10, $11, $12, CASE WHEN access_token = $2 THEN imported ELSE $13 END)
    WHERE id = $1 AND (ttl IS NULL OR ttl >= $25)
      AND (access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
           authenticated_userid, scope, family)
          IS NOT DISTINCT FROM
          ($14::bytea, $15::bytea, $16::text, $17::uuid, $18::uuid, $19::bigint, $20::bigint, $21::bigint,
           $22::text, $23::text, $24::uuid)
      AND EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
    RETURNING id
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT DISTINCT 'oauth2_tokens', 'updated', id, key, $26::uuid, $25::bigint
    FROM written, unnest(ARRAY[$14, $2]) AS key
)
SELECT EXISTS (SELECT FROM credential), $6::uuid IS NULL OR EXISTS (SELECT FROM service),
       EXISTS (SELECT FROM written)
