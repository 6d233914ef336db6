-- Deletes counters whose windows have all ended.
DELETE FROM rate_limiting_counters WHERE key IN (
    SELECT key FROM rate_limiting_counters WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
