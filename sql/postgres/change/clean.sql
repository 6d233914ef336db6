-- Deletes some changes that every node read long ago: $1 is the current time, $2 the maximum
-- number, $3 how long they are kept, in seconds. A node that was disconnected for longer clears its caches instead of catching up.
-- Concurrent cleaners take different rows.
-- The time of writing is not enough: a transaction may have been open for a long time, and nobody
-- can have read what it has only just committed. So a row is deleted once a snapshot of that age
-- sees it. Such snapshots are kept in a separate row, which is renewed as often, by the database's
-- clock. A snapshot from another cluster (in a restored dump) is meaningless, and is
-- replaced.
WITH here AS (
    SELECT pg_current_snapshot() AS snapshot, extract(epoch FROM clock_timestamp())::bigint AS time
), renewed AS (
    INSERT INTO change_horizon AS kept (taken_at, recent, old) SELECT time, snapshot, '1:1:' FROM here
    ON CONFLICT (one) DO UPDATE
    SET taken_at = excluded.taken_at, recent = excluded.recent,
        old = CASE WHEN pg_snapshot_xmax(kept.recent) > pg_snapshot_xmax(excluded.recent)
                   THEN excluded.old ELSE kept.recent END
    WHERE kept.taken_at <= excluded.taken_at - $3::bigint
       OR pg_snapshot_xmax(kept.recent) > pg_snapshot_xmax(excluded.recent)
), known AS MATERIALIZED (
    SELECT kept.old FROM change_horizon AS kept, here
    WHERE pg_snapshot_xmax(kept.recent) <= pg_snapshot_xmax(here.snapshot)
)
DELETE FROM changes WHERE seq IN (
    SELECT seq FROM changes
    WHERE xid < (SELECT pg_snapshot_xmax(old) FROM known)
      AND pg_visible_in_snapshot(xid, (SELECT old FROM known))
      AND created_at < $1::bigint - $3::bigint
    ORDER BY xid, seq LIMIT $2 FOR UPDATE SKIP LOCKED)
