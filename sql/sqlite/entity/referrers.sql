-- Entities that refer to those about to be deleted, and whether their references forbid the
-- deletion.
SELECT kind, id, on_delete FROM entity_references
WHERE target_kind = ?1 AND target_id IN (SELECT unhex(value) FROM json_each(?2))
ORDER BY kind, id
