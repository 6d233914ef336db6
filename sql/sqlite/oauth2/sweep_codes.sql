-- Deletes some expired codes: ?1 is the current time, ?2 the maximum number.
DELETE FROM oauth2_authorization_codes WHERE id IN (
    SELECT id FROM oauth2_authorization_codes WHERE ttl < ?1 ORDER BY ttl LIMIT ?2)
