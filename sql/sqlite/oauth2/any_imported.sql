-- Whether tokens without our checksum have to be looked up. Read from a partial index.
SELECT EXISTS (SELECT 1 FROM oauth2_tokens WHERE imported)
