-- What was committed since the reading before. $1 is that reading's snapshot. $2 is the snapshot of
-- this reading, and empty on its first page, which takes one; $3 and $4 are where the page before
-- ended. New is what this snapshot sees and the one before did not: rows of transactions that began
-- after it or were running then. So no row is read twice, and a transaction that runs for long
-- costs no more than the look-up of its id. The row with the snapshot comes also when nothing is
-- new; with it, which server this is, because another one may lack what this one had.
WITH reading AS MATERIALIZED (
    SELECT coalesce(nullif($2::text, '')::pg_snapshot, pg_current_snapshot()) AS snapshot)
SELECT reading.snapshot::text, extract(epoch FROM clock_timestamp())::bigint,
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, pg_is_in_recovery()::int::bigint,
       c.xid::text, c.seq, c.kind, c.operation, c.id, c.key, c.origin
FROM reading
LEFT JOIN LATERAL (
    (SELECT xid, seq, kind, operation, id, key, origin FROM changes
     WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot) AND (xid, seq) > ($3::text::xid8, $4)
       AND pg_visible_in_snapshot(xid, reading.snapshot)
     ORDER BY xid, seq LIMIT $5)
    UNION ALL
    (SELECT xid, seq, kind, operation, id, key, origin FROM changes
     WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot))) AND (xid, seq) > ($3::text::xid8, $4)
       AND pg_visible_in_snapshot(xid, reading.snapshot)
     ORDER BY xid, seq LIMIT $5)
    ORDER BY xid, seq LIMIT $5) AS c ON true
ORDER BY c.xid, c.seq
