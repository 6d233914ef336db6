-- Deletes some changes that every node read long ago: ?1 is the current time, ?2 the maximum
-- number, ?3 how long they are kept, in seconds. A node that was disconnected for longer clears its caches instead of catching up.
DELETE FROM changes WHERE seq IN (
    SELECT seq FROM changes WHERE created_at < ?1 - ?3 ORDER BY created_at LIMIT ?2)
