-- One page of the entities with any of the tags.
SELECT e.id, e.body, e.expires_at
FROM (
    SELECT DISTINCT t.id
    FROM json_each(?2) AS wanted
    JOIN entity_tags t ON t.kind = ?1 AND t.tag = wanted.value AND t.id >= ?3
    ORDER BY t.id LIMIT ?4) page
JOIN entities e ON e.kind = ?1 AND e.id = page.id
ORDER BY e.id
