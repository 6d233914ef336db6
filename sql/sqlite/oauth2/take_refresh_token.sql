-- Ends a token by its refresh token; no row: it is used, expired or somebody else's.
DELETE FROM oauth2_tokens WHERE refresh_token = ?1 AND credential_id = ?2 AND (ttl IS NULL OR ttl >= ?3)
RETURNING id, access_token
