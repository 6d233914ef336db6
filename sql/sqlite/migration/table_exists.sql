-- Whether the database was ever migrated. The check must not change an empty database.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations')
