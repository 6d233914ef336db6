-- Deletes a token and its descendants: $1 is the code or token that they descend from, $2 their client, $3 the
-- current time, $4 this write. Returns all that this statement sees, with the access token of those that it deleted.
-- The others were being refreshed: their successors are seen by the next statement.
-- The client is compared with IS NOT DISTINCT FROM, which no index supports: the rows must be looked up by their
-- family, not among all rows of the client, whatever the statistics say.
WITH members AS MATERIALIZED (
    SELECT id FROM oauth2_tokens WHERE family = $1 AND credential_id IS NOT DISTINCT FROM $2
    UNION
    SELECT id FROM oauth2_tokens WHERE id = $1 AND credential_id IS NOT DISTINCT FROM $2
), ended AS (
    DELETE FROM oauth2_tokens WHERE id IN (SELECT id FROM members)
    RETURNING id, access_token
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT 'oauth2_tokens', 'deleted', id, access_token, $4, $3 FROM ended
)
SELECT members.id, ended.access_token FROM members LEFT JOIN ended ON ended.id = members.id
