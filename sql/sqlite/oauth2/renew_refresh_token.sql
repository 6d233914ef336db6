-- Gives a row a new access token, if it still has the one that the caller has read (?3). ?1 is the
-- refresh token, ?2 the client, ?9 the current time, ?10 this write. ?11 is what a
-- repeated refresh gets, if anything, until ?12. ?13 is what the access token is bound to, ?14 its scope, ?15 what that
-- was narrowed from.
UPDATE oauth2_tokens
SET access_token = ?4, token_hint = ?5, expires_in = ?6, created_at = ?7, ttl = ?8, binding = ?13, scope = ?14,
    granted_scope = ?15, imported = 0
WHERE refresh_token = ?1 AND credential_id = ?2 AND access_token = ?3 AND (ttl IS NULL OR ttl >= ?9)
RETURNING id, ?3;
INSERT INTO changes (kind, operation, id, key, origin, created_at)
SELECT 'oauth2_tokens', 'deleted', id, ?3, ?10, ?9 FROM oauth2_tokens WHERE refresh_token = ?1 AND changes() > 0;
INSERT INTO oauth2_recent_refreshes (refresh_token, token_id, sealed, expires_at)
SELECT ?1, id, ?11, ?12 FROM oauth2_tokens WHERE refresh_token = ?1 AND changes() > 0 AND ?11 IS NOT NULL
ON CONFLICT (refresh_token) DO UPDATE
SET token_id = excluded.token_id, sealed = excluded.sealed, expires_at = excluded.expires_at
