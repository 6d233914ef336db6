-- The code that is about to be exchanged. It is kept: a failed exchange does not use it up.
SELECT id, code, credential_id, service_id, plugin_id, authenticated_userid, scope, challenge,
       challenge_method, redirect_uri, created_at, ttl, binding
FROM oauth2_authorization_codes WHERE code = ?1 AND ttl >= ?2
