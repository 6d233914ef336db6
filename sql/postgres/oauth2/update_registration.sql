-- What a client has registered now.
UPDATE oauth2_registrations SET metadata = $2 WHERE credential_id = $1 AND NOT ended
RETURNING credential_id
