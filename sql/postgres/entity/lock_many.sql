-- Locks entities that are about to be deleted, in id order so that two such transactions do not
-- deadlock; returns those that still exist.
SELECT id FROM entities WHERE kind = $1 AND id = ANY ($2) ORDER BY id FOR UPDATE
