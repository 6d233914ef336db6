-- Deletes some expired codes: $1 is the current time, $2 the maximum number. As sweep_tokens.sql.
DELETE FROM oauth2_authorization_codes WHERE ttl < $1 AND code IN (
    SELECT code FROM oauth2_authorization_codes WHERE ttl < $1 ORDER BY ttl, code LIMIT $2)
