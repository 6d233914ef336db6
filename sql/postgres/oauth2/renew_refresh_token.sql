-- Gives a row a new access token. $1 is the refresh token, $2 the client, $3 the access token that
-- the caller has read in the row: of two callers that have read the same one, one waits for the
-- other and then finds that row gone. $9 is the current time, $10 this write. $11 is what a repeated
-- refresh gets, if anything, until $12. $13 is what the access token is bound to, $14 its scope, $15 what that was
-- narrowed from.
-- The row is deleted and inserted: where tokens are distributed by access token, its place changes with it.
-- The client is locked first, then the row's service, as in their deletion, which then deletes this row too.
-- The client is compared with IS NOT DISTINCT FROM, which no index supports: the row must be looked
-- up by its digest, not among all rows of the client, whatever the statistics say.
WITH credential AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = $2 FOR KEY SHARE
), seen AS MATERIALIZED (
    SELECT service_id FROM oauth2_tokens WHERE access_token = $3
), service AS MATERIALIZED (
    SELECT 1 FROM entities WHERE kind = 'services' AND id = (SELECT service_id FROM seen) FOR KEY SHARE
), renewed AS (
    DELETE FROM oauth2_tokens
    WHERE access_token = $3 AND refresh_token = $1 AND credential_id IS NOT DISTINCT FROM $2
      AND (ttl IS NULL OR ttl >= $9)
      AND EXISTS (SELECT FROM credential) AND (service_id IS NULL OR EXISTS (SELECT FROM service))
    RETURNING id, service_id, authenticated_userid, family
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT 'oauth2_tokens', 'deleted', id, $3, $10, $9 FROM renewed
), successor AS (
    INSERT INTO oauth2_tokens (
        id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
        authenticated_userid, scope, family, binding, granted_scope, imported)
    SELECT id, $4::bytea, $1, $5::text, $2, service_id, $6::bigint, $7::bigint, $8::bigint,
           authenticated_userid, $14::text, family, $13::text, $15::text, false
    FROM renewed
), repeatable AS (
    INSERT INTO oauth2_recent_refreshes (refresh_token, token_id, sealed, expires_at)
    SELECT $1, id, $11::bytea, $12::bigint FROM renewed WHERE $11::bytea IS NOT NULL
    ON CONFLICT (refresh_token) DO UPDATE
    SET token_id = excluded.token_id, sealed = excluded.sealed, expires_at = excluded.expires_at
)
SELECT id, $3 FROM renewed
