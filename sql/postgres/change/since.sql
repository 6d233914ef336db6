-- Changes committed since the previous reading. $1 is that reading's snapshot. $2 is this reading's
-- snapshot; it is empty on the first page, which takes one. New rows are those that this snapshot
-- sees and the previous one did not: rows of transactions that were running then, after $3 and $4,
-- and rows of transactions that began later, after $5 and $6; each pair is where the previous page
-- ended, or where the range begins. So no row is read twice, and a long transaction costs no more
-- than the look-up of its id. Each range has one lower bound, because PostgreSQL enters the index
-- at only one of several, and not always at the highest. The row with the snapshot is returned even
-- if nothing is new, with the time before it was taken; it also identifies the server, because another one may lack what this one had.
WITH reading AS MATERIALIZED (
    SELECT coalesce(nullif($2::text, '')::pg_snapshot, pg_current_snapshot()) AS snapshot)
SELECT reading.snapshot::text, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint,
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, pg_is_in_recovery()::int::bigint,
       c.xid::text, c.seq, c.kind, c.operation, c.id, c.key, c.origin, c.written_at
FROM reading
LEFT JOIN LATERAL (
    (SELECT xid, seq, kind, operation, id, key, origin, written_at FROM changes
     WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot))) AND (xid, seq) > ($3::text::xid8, $4)
       AND pg_visible_in_snapshot(xid, reading.snapshot)
     ORDER BY xid, seq LIMIT $7)
    UNION ALL
    (SELECT xid, seq, kind, operation, id, key, origin, written_at FROM changes
     WHERE (xid, seq) > ($5::text::xid8, $6) AND pg_visible_in_snapshot(xid, reading.snapshot)
     ORDER BY xid, seq LIMIT $7)
    ORDER BY xid, seq LIMIT $7) AS c ON true
ORDER BY c.xid, c.seq
