-- Tags an entity. Duplicates are ignored.
INSERT INTO entity_tags (kind, id, tag) SELECT $1, $2, unnest($3::text[])
ON CONFLICT (kind, tag, id) DO NOTHING
