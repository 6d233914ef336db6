-- The migrations that the database has.
SELECT version, checksum FROM schema_migrations ORDER BY version
