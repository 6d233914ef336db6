-- Deletes a key.
DELETE FROM oauth2_signing_keys WHERE id = $1
RETURNING key_id
