-- A pushed request of this client and plugin, if it has not expired at ?4; it stays, to be taken later.
SELECT parameters
FROM oauth2_pushed_requests
WHERE reference = ?1 AND credential_id = ?2 AND plugin_id = ?3 AND expires_at >= ?4
