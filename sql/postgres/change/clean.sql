-- Removes a few changes that every node has long read: $1 is now, $2 how many. A node that was
-- away for longer forgets what it knows instead of catching up. Nodes that clean at the same time
-- take different rows.
-- Written long ago is not enough: a transaction may have been open for long, and nobody can have
-- read what it has only now committed. So a row goes when a snapshot that is an hour old sees it.
-- Such snapshots are kept in a row of their own, which is renewed every hour by the database's
-- clock. One from another cluster (a restored dump has it) tells nothing, and is replaced.
WITH here AS (
    SELECT pg_current_snapshot() AS snapshot, extract(epoch FROM clock_timestamp())::bigint AS time
), renewed AS (
    INSERT INTO change_horizon AS kept (taken_at, recent, old) SELECT time, snapshot, '1:1:' FROM here
    ON CONFLICT (one) DO UPDATE
    SET taken_at = excluded.taken_at, recent = excluded.recent,
        old = CASE WHEN pg_snapshot_xmax(kept.recent) > pg_snapshot_xmax(excluded.recent)
                   THEN excluded.old ELSE kept.recent END
    WHERE kept.taken_at <= excluded.taken_at - 3600
       OR pg_snapshot_xmax(kept.recent) > pg_snapshot_xmax(excluded.recent)
), known AS MATERIALIZED (
    SELECT kept.old FROM change_horizon AS kept, here
    WHERE pg_snapshot_xmax(kept.recent) <= pg_snapshot_xmax(here.snapshot)
)
DELETE FROM changes WHERE seq IN (
    SELECT seq FROM changes
    WHERE xid < (SELECT pg_snapshot_xmax(old) FROM known)
      AND pg_visible_in_snapshot(xid, (SELECT old FROM known))
      AND created_at < $1::bigint - 3600
    ORDER BY xid, seq LIMIT $2 FOR UPDATE SKIP LOCKED)
