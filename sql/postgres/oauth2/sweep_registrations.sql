-- Forgets some registrations whose client is gone and that no quota counts any more: $1 is the current time, $2 the
-- maximum number. Concurrent sweeps take different rows, and nothing waits for a sweep.
DELETE FROM oauth2_registrations WHERE credential_id IN (
    SELECT credential_id FROM oauth2_registrations WHERE ended AND created_at < $1::bigint - 86400
    LIMIT $2 FOR UPDATE SKIP LOCKED)
