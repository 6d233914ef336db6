-- All signing keys, the oldest first. There are a few.
SELECT id, key_id, generation, algorithm, sealed, created_at, active_from, covers
FROM oauth2_signing_keys ORDER BY generation
