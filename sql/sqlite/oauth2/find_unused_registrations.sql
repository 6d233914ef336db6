-- Some registrations that have been there for their time and have no token: ?1 is the current time, ?2 the maximum
-- number.
SELECT credential_id FROM oauth2_registrations
WHERE unused_after < ?1 AND NOT ended
  AND NOT EXISTS (SELECT 1 FROM oauth2_tokens WHERE oauth2_tokens.credential_id = oauth2_registrations.credential_id)
ORDER BY unused_after LIMIT ?2
