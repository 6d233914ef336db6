-- Keeps a code whose client, service and plugin are known to exist.
INSERT INTO oauth2_authorization_codes (
    id, code, credential_id, service_id, plugin_id, authenticated_userid, scope, challenge,
    challenge_method, redirect_uri, created_at, ttl)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
