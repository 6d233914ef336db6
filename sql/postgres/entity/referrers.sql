-- Who refers to entities that are about to be deleted, and whether that forbids it.
SELECT kind, id, on_delete FROM entity_references
WHERE target_kind = $1 AND target_id = ANY ($2)
ORDER BY kind, id
