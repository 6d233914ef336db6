-- Adds a registration within the quotas: $8 at this plugin, $9 from this network since $10, with those that have
-- ended: otherwise whoever deletes what he registered could go on for ever.
INSERT INTO oauth2_registrations (
    credential_id, plugin_id, access_token, network, metadata, created_at, unused_after)
SELECT $1::uuid, $2::uuid, $3::bytea, $4::bytea, $5::text, $6::bigint, $7::bigint
WHERE (SELECT count(*) FROM oauth2_registrations WHERE plugin_id = $2 AND NOT ended) < $8::bigint
  AND (SELECT count(*) FROM oauth2_registrations
       WHERE plugin_id = $2 AND network = $4 AND created_at > $10::bigint) < $9::bigint
RETURNING credential_id
