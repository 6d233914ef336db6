-- Removes the references of entities: before new ones are written, or before the entities go.
DELETE FROM entity_references WHERE kind = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2))
