-- The entities that are about to be deleted, as far as they still exist.
SELECT id FROM entities WHERE kind = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2)) ORDER BY id
