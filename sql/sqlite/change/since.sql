-- Changes after a sequence number, by this process or others. Numbers have no gaps, so a missing
-- one was deleted unread. The row with the last number is returned even if nothing is new.
SELECT (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'),
       c.seq, c.kind, c.operation, c.id, c.key, c.origin
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT seq, kind, operation, id, key, origin FROM changes
    WHERE seq > ?1
    ORDER BY seq LIMIT ?2) AS c ON true
ORDER BY c.seq
