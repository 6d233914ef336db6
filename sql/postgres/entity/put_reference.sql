-- References other entities from those of a declaration, one per array position; they must exist.
INSERT INTO entity_references (kind, id, field, target_kind, target_id, on_delete)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[])
