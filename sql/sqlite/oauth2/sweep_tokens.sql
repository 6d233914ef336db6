-- Removes a few expired tokens: ?1 is now, ?2 how many.
DELETE FROM oauth2_tokens WHERE id IN (
    SELECT id FROM oauth2_tokens WHERE ttl < ?1 ORDER BY ttl LIMIT ?2)
