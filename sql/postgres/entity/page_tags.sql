-- One page of the tags of all entities of every kind, after the position ($1, $2).
SELECT t.kind, t.id, t.tag, e.expires_at
FROM entity_tags t
JOIN entities e ON e.kind = t.kind AND e.id = t.id
WHERE (t.id, t.tag) > ($1, $2::text)
ORDER BY t.id, t.tag, t.kind LIMIT $3
