-- Takes entities that are about to be deleted, in order of id so that two such transactions do
-- not wait for each other; returns those that are still there.
SELECT id FROM entities WHERE kind = $1 AND id = ANY ($2) ORDER BY id FOR UPDATE
