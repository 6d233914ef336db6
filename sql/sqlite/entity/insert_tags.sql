-- Tags an entity. Duplicates are ignored.
INSERT INTO entity_tags (kind, id, tag) SELECT ?1, ?2, value FROM json_each(?3) WHERE true
ON CONFLICT (kind, tag, id) DO NOTHING
