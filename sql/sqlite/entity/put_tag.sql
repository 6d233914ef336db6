-- Tags an entity of a declaration. Duplicates are ignored.
INSERT INTO entity_tags (kind, id, tag) VALUES (?1, ?2, ?3)
ON CONFLICT (kind, tag, id) DO NOTHING
