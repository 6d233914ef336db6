-- A key is about to sign tokens that live until ?2: it stays until then. Nothing is returned for a key that is gone.
UPDATE oauth2_signing_keys SET covers = max(covers, ?2) WHERE key_id = ?1
RETURNING covers
