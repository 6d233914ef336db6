-- The code that is going to be exchanged. It stays: an exchange that fails uses up nothing.
SELECT id, code, credential_id, service_id, plugin_id, authenticated_userid, scope, challenge,
       challenge_method, redirect_uri, created_at, ttl
FROM oauth2_authorization_codes WHERE code = ?1 AND ttl >= ?2
