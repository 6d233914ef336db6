-- Gives a row a new access token. $1 is the refresh token, $2 the client, $3 the access token that
-- the caller has seen in the row: of two that saw the same one waits for the other and then finds
-- another access token there. $9 is now, $10 this write. No new reference is made, so nothing else
-- has to be locked.
-- The client is compared in a way that no index serves: one row is to be looked up by its digest,
-- not all of a client's, whatever the statistics say.
WITH renewed AS (
    UPDATE oauth2_tokens
    SET access_token = $4, token_hint = $5, expires_in = $6, created_at = $7, ttl = $8, imported = false
    WHERE refresh_token = $1 AND credential_id IS NOT DISTINCT FROM $2 AND access_token = $3
      AND (ttl IS NULL OR ttl >= $9)
    RETURNING id
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT 'oauth2_tokens', 'deleted', id, $3, $10, $9 FROM renewed
)
SELECT id, $3 FROM renewed
