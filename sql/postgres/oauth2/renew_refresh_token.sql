-- Gives a row a new access token. $1 is the refresh token, $2 the client, $3 the access token that
-- the caller has read in the row: of two callers that have read the same one, one waits for the
-- other and then finds a different access token. $9 is the current time, $10 this write. $11 is what a repeated
-- refresh gets, if anything, until $12. $13 is what the access token is bound to, $14 its scope, $15 what that was
-- narrowed from. No new
-- reference is made, so nothing else needs to be locked.
-- The client is compared with IS NOT DISTINCT FROM, which no index supports: the row must be looked
-- up by its digest, not among all rows of the client, whatever the statistics say.
WITH renewed AS (
    UPDATE oauth2_tokens
    SET access_token = $4, token_hint = $5, expires_in = $6, created_at = $7, ttl = $8, binding = $13, scope = $14,
        granted_scope = $15, imported = false
    WHERE refresh_token = $1 AND credential_id IS NOT DISTINCT FROM $2 AND access_token = $3
      AND (ttl IS NULL OR ttl >= $9)
    RETURNING id
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT 'oauth2_tokens', 'deleted', id, $3, $10, $9 FROM renewed
), repeatable AS (
    INSERT INTO oauth2_recent_refreshes (refresh_token, token_id, sealed, expires_at)
    SELECT $1, id, $11::bytea, $12::bigint FROM renewed WHERE $11::bytea IS NOT NULL
    ON CONFLICT (refresh_token) DO UPDATE
    SET token_id = excluded.token_id, sealed = excluded.sealed, expires_at = excluded.expires_at
)
SELECT id, $3 FROM renewed
