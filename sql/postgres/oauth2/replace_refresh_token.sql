-- Deletes a token and inserts its successor, both or neither. $1 to $13 are the successor, $14 the
-- refresh token, $15 the current time, $16 this write. $17 is what a repeated refresh gets, if anything,
-- until $18. $19 is the scope that the successor was narrowed from. A second use of the refresh token is noticed until
-- $21, unless that is null, and ends nothing until $20. Of two concurrent uses of one refresh token,
-- one waits for the other and then finds it gone. The client is locked first, as in its deletion,
-- so that the two do not deadlock.
-- The client is compared with IS NOT DISTINCT FROM, which no index supports: the row must be looked
-- up by its digest, not among all rows of the client, whatever the statistics say.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $5 FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = $6 FOR KEY SHARE
), ended AS (
    DELETE FROM oauth2_tokens
    WHERE refresh_token = $14 AND credential_id IS NOT DISTINCT FROM $5 AND (ttl IS NULL OR ttl >= $15)
      AND EXISTS (SELECT FROM credential) AND ($6::uuid IS NULL OR EXISTS (SELECT FROM service))
    RETURNING id, access_token
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT 'oauth2_tokens', 'deleted', id, access_token, $16, $15 FROM ended
), successor AS (
    INSERT INTO oauth2_tokens (
        id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
        authenticated_userid, scope, family, binding, granted_scope, imported)
    SELECT $1::uuid, $2::bytea, $3::bytea, $4::text, $5::uuid, $6::uuid,
           $7::bigint, $8::bigint, $9::bigint, $10::text, $11::text, $12::uuid, $13::text, $19::text, false
    FROM ended
), used AS (
    INSERT INTO oauth2_used_grants (digest, family, credential_id, tolerated_until, expires_at)
    SELECT $14, $12::uuid, $5, $20::bigint, $21::bigint FROM ended WHERE $21::bigint IS NOT NULL
    ON CONFLICT (digest) DO UPDATE
    SET family = excluded.family, credential_id = excluded.credential_id,
        tolerated_until = excluded.tolerated_until, expires_at = excluded.expires_at
), repeatable AS (
    INSERT INTO oauth2_recent_refreshes (refresh_token, token_id, sealed, expires_at)
    SELECT $14, $1, $17::bytea, $18::bigint FROM ended WHERE $17::bytea IS NOT NULL
    ON CONFLICT (refresh_token) DO UPDATE
    SET token_id = excluded.token_id, sealed = excluded.sealed, expires_at = excluded.expires_at
)
SELECT id, access_token FROM ended
