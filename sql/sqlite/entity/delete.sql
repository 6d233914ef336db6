-- Deletes entities that this transaction has locked.
DELETE FROM entities WHERE kind = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2))
