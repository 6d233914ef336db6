-- Removes the tags of entities: before new ones are written, or before the entities go.
DELETE FROM entity_tags WHERE kind = $1 AND id = ANY ($2)
