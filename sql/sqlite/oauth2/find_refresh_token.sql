-- The token that is about to be refreshed. The refresh checks again that it is unchanged.
SELECT id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
       authenticated_userid, scope, family, binding, granted_scope
FROM oauth2_tokens WHERE refresh_token = ?1 AND (ttl IS NULL OR ttl >= ?2)
