-- Removes a few changes that every node has long heard: $1 is now, $2 how many. A node that was
-- away for longer forgets what it knows instead of catching up. Nodes that clean at the same time
-- take different rows.
DELETE FROM changes WHERE seq IN (
    SELECT seq FROM changes WHERE created_at < $1::bigint - 3600
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
