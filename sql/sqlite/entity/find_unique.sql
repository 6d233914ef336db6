-- One entity by a unique value.
SELECT e.id, e.body, e.expires_at
FROM entity_keys k
JOIN entities e ON e.kind = k.kind AND e.id = k.id
WHERE k.kind = ?1 AND k.field = ?2 AND k.value = ?3
