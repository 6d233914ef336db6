-- What other processes changed, behind a sequence number. The row with the last number comes also
-- when there is no change of theirs.
SELECT (SELECT coalesce(max(seq), 0) FROM changes), c.seq, c.kind, c.operation, c.id, c.key
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT seq, kind, operation, id, key FROM changes
    WHERE seq > ?1 AND origin <> ?2
    ORDER BY seq LIMIT ?3) AS c ON true
ORDER BY c.seq
