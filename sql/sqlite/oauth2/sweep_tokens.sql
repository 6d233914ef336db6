-- Deletes some expired tokens: ?1 is the current time, ?2 the maximum number.
DELETE FROM oauth2_tokens WHERE id IN (
    SELECT id FROM oauth2_tokens WHERE ttl < ?1 ORDER BY ttl LIMIT ?2)
