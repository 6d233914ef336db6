-- Deletes some expired requests: ?1 is the current time, ?2 the maximum number.
DELETE FROM oauth2_pushed_requests WHERE reference IN (
    SELECT reference FROM oauth2_pushed_requests WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)
