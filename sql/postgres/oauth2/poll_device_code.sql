-- A poll of this client's device: $3 is the current time in milliseconds. One that comes too soon lengthens the
-- interval (RFC 8628 section 3.5), up to a minute. A tenth of the interval is left to the network.
-- The client is compared as in redeem_code.sql.
UPDATE oauth2_device_codes
SET hurried = coalesce($3 - polled_at < poll_interval * 900, false),
    poll_interval = CASE WHEN $3 - polled_at < poll_interval * 900 THEN least(poll_interval + 5, 60)
                         ELSE poll_interval END,
    polled_at = $3
WHERE device_code = $1 AND credential_id IS NOT DISTINCT FROM $2
RETURNING id, device_code, user_code, credential_id, service_id, plugin_id, scope, status, authenticated_userid,
       poll_interval, hurried, created_at, expires_at, binding
