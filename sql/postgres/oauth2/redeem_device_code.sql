-- Deletes the approved device code and inserts the token, both or neither. The parameters are those of
-- redeem_code.sql, which says why it is written so.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $5 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $6 FOR KEY SHARE
), taken AS (
    DELETE FROM oauth2_device_codes
    WHERE device_code = $14 AND credential_id IS NOT DISTINCT FROM $5 AND status = 'approved' AND expires_at >= $15
      AND EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
    RETURNING 1
)
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, binding, imported)
SELECT $1::uuid, $2::bytea, $3::bytea, $4::text, $5::uuid, $6::uuid,
           $7::bigint, $8::bigint, $9::bigint, $10::text, $11::text, $12::uuid, $13::text, false
FROM taken
RETURNING id
