-- Many look-ups in one round trip. Each has its own current time; $2 is the earliest, and the
-- caller leaves out rows that have expired for later ones.
SELECT id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
       authenticated_userid, scope, family, binding
FROM oauth2_tokens WHERE access_token = ANY ($1) AND (ttl IS NULL OR ttl >= $2)
