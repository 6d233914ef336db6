-- Deletes the unique values of entities: before new ones are inserted, or before the entities are
-- deleted.
DELETE FROM entity_keys WHERE kind = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2))
