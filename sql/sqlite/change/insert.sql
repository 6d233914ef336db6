-- Records a change for other processes, in the transaction of the change itself.
INSERT INTO changes (kind, operation, id, origin, created_at, key)
SELECT ?1, ?2, unhex(value), ?4, ?5, ?6 FROM json_each(?3)
