-- Labels an entity. A tag that is given twice counts once.
INSERT INTO entity_tags (kind, id, tag) SELECT ?1, ?2, value FROM json_each(?3) WHERE true
ON CONFLICT (kind, tag, id) DO NOTHING
