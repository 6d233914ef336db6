-- Adds a registration within the quotas: ?8 at this plugin, ?9 from this network since ?10, with those that have
-- ended: otherwise whoever deletes what he registered could go on for ever.
INSERT INTO oauth2_registrations (
    credential_id, plugin_id, access_token, network, metadata, created_at, unused_after)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
WHERE (SELECT count(*) FROM oauth2_registrations WHERE plugin_id = ?2 AND NOT ended) < ?8
  AND (SELECT count(*) FROM oauth2_registrations
       WHERE plugin_id = ?2 AND network = ?4 AND created_at > ?10) < ?9
RETURNING credential_id
