-- Whether tokens without our checksum must be looked up. Uses a partial index.
SELECT EXISTS (SELECT 1 FROM oauth2_tokens WHERE imported)
