-- Deletes some refreshes that can no longer be repeated: $1 is the current time, $2 the maximum
-- number. Concurrent sweeps take different rows, and nothing waits for a sweep.
DELETE FROM oauth2_recent_refreshes WHERE refresh_token IN (
    SELECT refresh_token FROM oauth2_recent_refreshes WHERE expires_at < $1
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
