-- Inserts the entities of a declaration, one per array position, or replaces those with their ids.
INSERT INTO entities (kind, id, body, created_at, expires_at)
SELECT kind, id, body::json, created_at, expires_at
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[])
    AS declared (kind, id, body, created_at, expires_at)
ON CONFLICT (kind, id) DO UPDATE
SET body = excluded.body, created_at = excluded.created_at, expires_at = excluded.expires_at
