-- Claims unique values for the entities of a declaration, one per array position. Those without a row have another
-- owner. In their order, so that two such transactions do not deadlock.
INSERT INTO entity_keys (kind, field, value, id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) AS claimed (kind, field, value, id)
ORDER BY kind, field, value
ON CONFLICT (kind, field, value) DO NOTHING
RETURNING field, value
