-- Deletes the code and inserts the token, both or neither. $1 to $13 are the token, $14 the code,
-- $15 the current time. Until $16, unless that is null, a second use of the code is noticed. Of two concurrent exchanges of one code, one waits for the other and then
-- finds the code gone. The client is locked before the code, as in its deletion, so that the two do
-- not deadlock.
-- The client is compared with IS NOT DISTINCT FROM, which no index supports: the row must be looked
-- up by its digest, not among all rows of the client, whatever the statistics say.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $5 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $6 FOR KEY SHARE
), taken AS (
    DELETE FROM oauth2_authorization_codes
    WHERE code = $14 AND credential_id IS NOT DISTINCT FROM $5 AND ttl >= $15
      AND EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
    RETURNING 1
), used AS (
    INSERT INTO oauth2_used_grants (digest, family, credential_id, tolerated_until, expires_at)
    SELECT $14, $12::uuid, $5, 0, $16::bigint FROM taken WHERE $16::bigint IS NOT NULL
    ON CONFLICT (digest) DO NOTHING
)
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, binding, imported)
SELECT $1::uuid, $2::bytea, $3::bytea, $4::text, $5::uuid, $6::uuid,
           $7::bigint, $8::bigint, $9::bigint, $10::text, $11::text, $12::uuid, $13::text, false
FROM taken
RETURNING id
