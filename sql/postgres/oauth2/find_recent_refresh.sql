-- The refresh that may be repeated with refresh token $1, at the current time $2, and its row: without the
-- row it cannot be repeated, since the pair was revoked or replaced.
SELECT t.id, t.access_token, t.refresh_token, t.token_hint, t.credential_id, t.service_id, t.expires_in, t.created_at,
       t.ttl, t.authenticated_userid, t.scope, t.family, t.binding, t.granted_scope, recent.sealed
FROM oauth2_recent_refreshes AS recent JOIN oauth2_tokens AS t ON t.id = recent.token_id
WHERE recent.refresh_token = $1 AND recent.expires_at >= $2 AND (t.ttl IS NULL OR t.ttl >= $2)
