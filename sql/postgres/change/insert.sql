-- Records a change for other nodes, in the transaction of the change itself.
INSERT INTO changes (kind, operation, id, origin, created_at, key)
SELECT $1, $2, unnest($3::uuid[]), $4, $5, $6
