-- What other nodes changed. $1 is the horizon: transactions below it have ended and been read. $2
-- and $3 are where the page before ended, within the same reading; $4 is this node. The row with
-- the new horizon comes also when there is no change: what is below it has ended by now, and is
-- visible to this statement, which takes one snapshot.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text,
       extract(epoch FROM clock_timestamp())::bigint,
       c.xid::text, c.seq, c.kind, c.operation, c.id, c.key
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT xid, seq, kind, operation, id, key FROM changes
    WHERE xid >= $1::text::xid8 AND (xid, seq) > ($2::text::xid8, $3) AND origin <> $4
    ORDER BY xid, seq LIMIT $5) AS c ON true
ORDER BY c.xid, c.seq
