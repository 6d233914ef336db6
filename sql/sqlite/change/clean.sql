-- Removes a few changes that every node has long read: ?1 is now, ?2 how many. A node that was
-- away for longer forgets what it knows instead of catching up.
DELETE FROM changes WHERE seq IN (
    SELECT seq FROM changes WHERE created_at < ?1 - 3600 ORDER BY created_at LIMIT ?2)
