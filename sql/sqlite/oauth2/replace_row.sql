-- Updates a token of the Admin API, if its row is still as the caller has read it, and returns
-- whether its client and its service exist, and whether it was written. ?1 to ?13 are the new
-- values, ?14 whether a new access token was chosen, ?15 to ?26 the old ones, ?27 is the current
-- time, ?28 this write. Changes of both access tokens are recorded.
UPDATE oauth2_tokens
SET (access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
     authenticated_userid, scope, family, binding, imported)
  = (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
     ?10, ?11, ?12, ?13, CASE WHEN access_token = ?2 THEN imported ELSE ?14 END),
    granted_scope = CASE WHEN scope IS ?11 THEN granted_scope END
WHERE id = ?1 AND (ttl IS NULL OR ttl >= ?27)
  AND access_token IS ?15 AND refresh_token IS ?16 AND token_hint IS ?17
  AND credential_id IS ?18 AND service_id IS ?19 AND expires_in IS ?20
  AND created_at IS ?21 AND ttl IS ?22 AND authenticated_userid IS ?23
  AND scope IS ?24 AND family IS ?25 AND binding IS ?26
  AND EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?5)
  AND (?6 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?6));
INSERT INTO changes (kind, operation, id, key, origin, created_at)
SELECT 'oauth2_tokens', 'updated', ?1, key, ?28, ?27 FROM (SELECT ?15 AS key UNION SELECT ?2) WHERE changes() > 0;
SELECT EXISTS (SELECT 1 FROM entities WHERE kind = 'oauth2_credentials' AND id = ?5),
       ?6 IS NULL OR EXISTS (SELECT 1 FROM entities WHERE kind = 'services' AND id = ?6),
       changes() > 0
