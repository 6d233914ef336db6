-- What was written behind a sequence number, by this process or others. Numbers are not left out, so
-- one that is missing was removed unread. The row with the last number that was given comes also
-- when there is nothing new.
SELECT (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'),
       c.seq, c.kind, c.operation, c.id, c.key, c.origin
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT seq, kind, operation, id, key, origin FROM changes
    WHERE seq > ?1
    ORDER BY seq LIMIT ?2) AS c ON true
ORDER BY c.seq
