-- A page of the entities of every kind that carry a tag, from an id on.
SELECT kind, id, tag FROM entity_tags WHERE tag = $1 AND id >= $2 ORDER BY id, kind LIMIT $3
