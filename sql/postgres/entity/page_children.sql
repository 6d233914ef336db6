-- One page of the entities that refer to one entity through one field.
SELECT e.id, e.body::text, e.expires_at
FROM entity_references r
JOIN entities e ON e.kind = r.kind AND e.id = r.id
WHERE r.target_kind = $1 AND r.target_id = $2 AND r.kind = $3 AND r.field = $4 AND r.id >= $5
ORDER BY r.id LIMIT $6
