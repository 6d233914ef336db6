-- What a device has begun at this plugin, by its user code, if the user can still decide at $3.
SELECT id, device_code, user_code, credential_id, service_id, plugin_id, scope, status, authenticated_userid,
       poll_interval, hurried, created_at, expires_at, binding
FROM oauth2_device_codes
WHERE user_code = $1 AND plugin_id = $2 AND status = 'pending' AND expires_at >= $3
