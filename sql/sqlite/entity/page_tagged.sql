-- One page of the entities of every kind with a tag, starting at an id.
SELECT t.kind, t.id, t.tag, e.expires_at
FROM entity_tags t
JOIN entities e ON e.kind = t.kind AND e.id = t.id
WHERE t.tag = ?1 AND t.id >= ?2
ORDER BY t.id, t.kind LIMIT ?3
