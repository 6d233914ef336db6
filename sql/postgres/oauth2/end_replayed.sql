-- Ends the tokens that descend from a code or refresh token that is used again: $1 is its digest, $2 the client, $3 the
-- current time, $4 this write, $5 whether its client revokes it, which counts at any time. A family has one living row at a time. If that row is being refreshed meanwhile, this
-- statement waits for the refresh, finds the row gone and returns it without an access token: then it is run again,
-- which finds the successor. The client is compared with IS NOT DISTINCT FROM, which no index supports.
WITH used AS MATERIALIZED (
    SELECT family FROM oauth2_used_grants
    WHERE digest = $1 AND credential_id IS NOT DISTINCT FROM $2 AND (tolerated_until < $3 OR $5::boolean) AND expires_at >= $3
), living AS MATERIALIZED (
    SELECT id FROM oauth2_tokens WHERE family = (SELECT family FROM used)
), ended AS (
    DELETE FROM oauth2_tokens WHERE id IN (SELECT id FROM living)
    RETURNING id, access_token
), recorded AS (
    INSERT INTO changes (kind, operation, id, key, origin, created_at)
    SELECT 'oauth2_tokens', 'deleted', id, access_token, $4, $3 FROM ended
)
SELECT living.id, ended.access_token FROM living LEFT JOIN ended ON ended.id = living.id
