-- How many tokens and codes will end with credentials that are about to be deleted.
SELECT credential_id, 'tokens', count(*) FROM oauth2_tokens
WHERE credential_id IN (SELECT unhex(value) FROM json_each(?1)) AND (ttl IS NULL OR ttl >= ?2) GROUP BY credential_id
UNION ALL
SELECT credential_id, 'codes', count(*) FROM oauth2_authorization_codes
WHERE credential_id IN (SELECT unhex(value) FROM json_each(?1)) AND ttl >= ?2 GROUP BY credential_id
