-- Inserts issued tokens, one per array position, except those whose client or service is gone. All
-- clients, then all services are locked until this commits, in id order: a concurrent deletion of
-- one of them waits, and then deletes these tokens too.
WITH issued AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::uuid[], $2::bytea[], $3::bytea[], $4::text[], $5::uuid[], $6::uuid[],
        $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::uuid[], $13::text[]
    ) AS token (
        id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
        authenticated_userid, scope, family, binding)
), credential AS MATERIALIZED (
    SELECT id FROM entities WHERE kind = 'oauth2_credentials' AND id = ANY ($5) ORDER BY id FOR KEY SHARE
), service AS MATERIALIZED (
    SELECT id FROM entities
    WHERE kind = 'services' AND id = ANY ($6) AND EXISTS (SELECT FROM credential) ORDER BY id FOR KEY SHARE
)
INSERT INTO oauth2_tokens (
    id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
    authenticated_userid, scope, family, binding, imported)
SELECT issued.*, false FROM issued
WHERE EXISTS (SELECT FROM credential WHERE credential.id = issued.credential_id)
  AND (issued.service_id IS NULL OR EXISTS (SELECT FROM service WHERE service.id = issued.service_id))
RETURNING id
