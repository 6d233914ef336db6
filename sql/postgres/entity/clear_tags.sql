-- Deletes the tags of entities: before new ones are inserted, or before the entities are deleted.
DELETE FROM entity_tags WHERE kind = $1 AND id = ANY ($2)
