-- Tells the other nodes, in the transaction of the change itself: both or neither.
INSERT INTO changes (kind, operation, id, origin, created_at, key)
SELECT $1, $2, unnest($3::uuid[]), $4, $5, $6
