-- Deletes some expired entities with their rows in other tables: ?1 is the current time, ?2 the
-- maximum number. Referenced entities are kept.
DELETE FROM entities WHERE (kind, id) IN (
    SELECT e.kind, e.id FROM entities e
    WHERE e.expires_at < ?1
      AND NOT EXISTS (SELECT 1 FROM entity_references r WHERE r.target_kind = e.kind AND r.target_id = e.id)
    ORDER BY e.expires_at LIMIT ?2)
