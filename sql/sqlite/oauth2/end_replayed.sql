-- Ends the tokens that descend from a code or refresh token that is used again: ?1 is its digest, ?2 the client, ?3 the
-- current time, ?4 this write, ?5 whether its client revokes it, which counts at any time. The rows are copied to the changes first, since they are lost once they are deleted.
INSERT INTO changes (kind, operation, id, key, origin, created_at)
SELECT 'oauth2_tokens', 'deleted', id, access_token, ?4, ?3 FROM oauth2_tokens
WHERE family = (
    SELECT family FROM oauth2_used_grants
    WHERE digest = ?1 AND credential_id = ?2 AND (tolerated_until < ?3 OR ?5) AND expires_at >= ?3);
DELETE FROM oauth2_tokens
WHERE family = (
    SELECT family FROM oauth2_used_grants
    WHERE digest = ?1 AND credential_id = ?2 AND (tolerated_until < ?3 OR ?5) AND expires_at >= ?3)
RETURNING id, access_token
