-- An expired row is invisible, so it must not keep its id or its values from a new one.
DELETE FROM oauth2_tokens WHERE ttl < ?4 AND (id = ?1 OR access_token = ?2 OR refresh_token = ?3)
