-- Deletes a token and its descendants: ?1 is the code or token that they descend from, ?2 their client, ?3 the
-- current time, ?4 this write. The rows are copied to the changes first, since they are lost once they are deleted.
INSERT INTO changes (kind, operation, id, key, origin, created_at)
SELECT 'oauth2_tokens', 'deleted', id, access_token, ?4, ?3 FROM oauth2_tokens
WHERE (family = ?1 OR id = ?1) AND credential_id = ?2;
DELETE FROM oauth2_tokens WHERE (family = ?1 OR id = ?1) AND credential_id = ?2
RETURNING id, access_token
