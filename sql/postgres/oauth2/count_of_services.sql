-- How many tokens and codes will end with services that are about to be deleted.
SELECT service_id, 'tokens', count(*) FROM oauth2_tokens
WHERE service_id = ANY ($1) AND (ttl IS NULL OR ttl >= $2) GROUP BY service_id
UNION ALL
SELECT service_id, 'codes', count(*) FROM oauth2_authorization_codes
WHERE service_id = ANY ($1) AND ttl >= $2 GROUP BY service_id
