-- Removes a few expired codes: ?1 is now, ?2 how many.
DELETE FROM oauth2_authorization_codes WHERE id IN (
    SELECT id FROM oauth2_authorization_codes WHERE ttl < ?1 ORDER BY ttl LIMIT ?2)
