-- Takes a code; no row: it is used, expired or somebody else's.
DELETE FROM oauth2_authorization_codes WHERE code = ?1 AND credential_id = ?2 AND ttl >= ?3
