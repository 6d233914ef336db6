-- Adds the key that follows generation ?3, if that is still the newest: of two nodes that make the next key, one adds
-- it.
INSERT INTO oauth2_signing_keys (id, key_id, generation, algorithm, sealed, created_at, active_from, covers)
SELECT ?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7, ?8
WHERE ?3 = (SELECT coalesce(max(generation), 0) FROM oauth2_signing_keys)
ON CONFLICT (generation) DO NOTHING
RETURNING id
