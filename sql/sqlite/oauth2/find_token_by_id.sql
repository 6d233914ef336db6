-- One token for the Admin API, unless it has expired.
SELECT id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
       authenticated_userid, scope, family, binding
FROM oauth2_tokens WHERE id = ?1 AND (ttl IS NULL OR ttl >= ?2)
