-- One page of the entities with all of these tags: scans the entities of the first tag ($2) in id
-- order and looks up the other tags.
SELECT e.id, e.body::text, e.expires_at
FROM entity_tags t
JOIN entities e ON e.kind = t.kind AND e.id = t.id
WHERE t.kind = $1 AND t.tag = $2 AND t.id >= $4
  AND NOT EXISTS (
    SELECT 1 FROM unnest($3::text[]) AS wanted (tag)
    WHERE NOT EXISTS (
      SELECT 1 FROM entity_tags o WHERE o.kind = t.kind AND o.tag = wanted.tag AND o.id = t.id))
ORDER BY t.id LIMIT $5
