-- Some registrations that have been there for their time and have no token: $1 is the current time, $2 the maximum
-- number. Tokens may be distributed, so they are looked up by themselves, without a join.
WITH due AS MATERIALIZED (
    SELECT credential_id, unused_after FROM oauth2_registrations WHERE unused_after < $1 AND NOT ended
), used AS MATERIALIZED (
    SELECT DISTINCT credential_id FROM oauth2_tokens WHERE credential_id IN (SELECT credential_id FROM due)
)
SELECT credential_id FROM due
WHERE NOT EXISTS (SELECT FROM used WHERE used.credential_id = due.credential_id)
ORDER BY unused_after LIMIT $2
