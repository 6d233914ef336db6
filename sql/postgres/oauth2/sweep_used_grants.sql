-- Deletes some used codes and refresh tokens whose second use is not noticed any more: $1 is the current time, $2 the
-- maximum number. Concurrent sweeps take different rows, and nothing waits for a sweep.
DELETE FROM oauth2_used_grants WHERE digest IN (
    SELECT digest FROM oauth2_used_grants WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
