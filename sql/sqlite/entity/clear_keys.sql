-- Removes the unique values of entities: before new ones are written, or before the entities go.
DELETE FROM entity_keys WHERE kind = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2))
