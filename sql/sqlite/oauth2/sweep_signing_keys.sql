-- Deletes some keys that a newer one has replaced and whose tokens have expired, an hour ago each: ?1 is the current
-- time, ?2 the maximum number.
DELETE FROM oauth2_signing_keys WHERE id IN (
    SELECT old.id FROM oauth2_signing_keys old
    WHERE old.covers < ?1 - 3600 AND EXISTS (
        SELECT 1 FROM oauth2_signing_keys newer
        WHERE newer.generation > old.generation AND newer.active_from < ?1 - 3600)
    ORDER BY old.generation LIMIT ?2)
