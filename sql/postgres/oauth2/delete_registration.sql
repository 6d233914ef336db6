-- Deletes a registration whose credential is gone, or was never added.
DELETE FROM oauth2_registrations WHERE credential_id = $1
RETURNING credential_id
