-- The user's decision, which is made once: ?3 is the status, ?4 the user, ?5 the granted scope, ?6 the current time.
UPDATE oauth2_device_codes SET status = ?3, authenticated_userid = ?4, scope = ?5
WHERE user_code = ?1 AND plugin_id = ?2 AND status = 'pending' AND expires_at >= ?6
RETURNING id, device_code, user_code, credential_id, service_id, plugin_id, scope, status, authenticated_userid,
       poll_interval, hurried, created_at, expires_at, binding
