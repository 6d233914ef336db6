-- Ends a token for the Admin API; ?2 is now.
DELETE FROM oauth2_tokens WHERE id = ?1 AND (ttl IS NULL OR ttl >= ?2)
RETURNING id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
       authenticated_userid, scope, family
