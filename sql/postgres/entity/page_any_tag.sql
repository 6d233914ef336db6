-- One page of the entities with any of the tags. Of each tag no more is read than fits on the page.
SELECT e.id, e.body::text, e.expires_at
FROM (
    SELECT DISTINCT found.id
    FROM unnest($2::text[]) AS wanted (tag)
    CROSS JOIN LATERAL (
      SELECT t.id FROM entity_tags t
      WHERE t.kind = $1 AND t.tag = wanted.tag AND t.id >= $3
      ORDER BY t.id LIMIT $4) found
    ORDER BY found.id LIMIT $4) page
JOIN entities e ON e.kind = $1 AND e.id = page.id
ORDER BY e.id
