-- How many codes will end with plugins that are about to be deleted. Tokens belong to none.
SELECT plugin_id, 'codes', count(*) FROM oauth2_authorization_codes
WHERE plugin_id IN (SELECT unhex(value) FROM json_each(?1)) AND ttl >= ?2 GROUP BY plugin_id
