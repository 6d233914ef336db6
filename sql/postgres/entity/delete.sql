-- Deletes entities that this transaction has locked.
DELETE FROM entities WHERE kind = $1 AND id = ANY ($2)
