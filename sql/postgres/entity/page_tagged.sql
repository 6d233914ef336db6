-- One page of the entities of every kind with a tag, starting at an id.
SELECT kind, id, tag FROM entity_tags WHERE tag = $1 AND id >= $2 ORDER BY id, kind LIMIT $3
