-- The registration of a client.
SELECT credential_id, plugin_id, access_token, network, metadata, created_at, unused_after
FROM oauth2_registrations WHERE credential_id = ?1 AND NOT ended
