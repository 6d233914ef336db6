-- Deletes some keys that a newer one has replaced and whose tokens have expired, an hour ago each: $1 is the current
-- time, $2 the maximum number. Concurrent sweeps take different rows, and nothing waits for a sweep.
DELETE FROM oauth2_signing_keys WHERE id IN (
    SELECT old.id FROM oauth2_signing_keys old
    WHERE old.covers < $1::bigint - 3600 AND EXISTS (
        SELECT FROM oauth2_signing_keys newer
        WHERE newer.generation > old.generation AND newer.active_from < $1::bigint - 3600)
    ORDER BY old.generation LIMIT $2 FOR UPDATE SKIP LOCKED)
