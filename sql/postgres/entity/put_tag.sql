-- Tags the entities of a declaration, one per array position. Duplicates are ignored.
INSERT INTO entity_tags (kind, id, tag)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[])
ON CONFLICT (kind, tag, id) DO NOTHING
