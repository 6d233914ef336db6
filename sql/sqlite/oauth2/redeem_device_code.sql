-- Deletes the approved device code and inserts the token, both or neither. The parameters are those of
-- redeem_code.sql, which says why it is written so.
DELETE FROM oauth2_device_codes
WHERE device_code = ?14 AND credential_id = ?5 AND status = 'approved' AND expires_at >= ?15
  AND EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?5)
  AND (?6 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?6));
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, binding, imported)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0
WHERE changes() > 0
RETURNING id
