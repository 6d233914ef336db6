-- Deletes the references of entities: before new ones are inserted, or before the entities are
-- deleted.
DELETE FROM entity_references WHERE kind = $1 AND id = ANY ($2)
