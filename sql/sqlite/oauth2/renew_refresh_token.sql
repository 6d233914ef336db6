-- Gives a row a new access token, if the one that the caller has seen (?3) is still there. ?9 is now.
UPDATE oauth2_tokens
SET access_token = ?4, token_hint = ?5, expires_in = ?6, created_at = ?7, ttl = ?8, imported = 0
WHERE refresh_token = ?1 AND credential_id = ?2 AND access_token = ?3 AND (ttl IS NULL OR ttl >= ?9)
RETURNING id, ?3
