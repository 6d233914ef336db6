-- One page of the tokens of a client, starting at id ?1, in index order.
SELECT id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
       authenticated_userid, scope, family, binding
FROM oauth2_tokens WHERE credential_id = ?4 AND id >= ?1 AND (ttl IS NULL OR ttl >= ?2)
ORDER BY id LIMIT ?3
