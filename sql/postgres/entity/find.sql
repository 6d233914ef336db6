-- One entity by primary key.
SELECT id, body::text FROM entities WHERE kind = $1 AND id = $2
