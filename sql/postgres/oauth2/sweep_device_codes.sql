-- Deletes some device codes that expired an hour ago: $1 is the current time, $2 the maximum number. Until then
-- the device hears that its code has expired. Concurrent sweeps take different rows, and nothing waits for a sweep.
DELETE FROM oauth2_device_codes WHERE id IN (
    SELECT id FROM oauth2_device_codes WHERE expires_at < $1::bigint - 3600
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
