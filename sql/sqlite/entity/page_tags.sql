-- One page of the tags of all entities of every kind, after the position (?1, ?2).
SELECT kind, id, tag FROM entity_tags WHERE (id, tag) > (?1, ?2) ORDER BY id, tag, kind LIMIT ?3
