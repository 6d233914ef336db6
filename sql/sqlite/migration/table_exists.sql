-- Whether the database was ever migrated; asking must not change an empty one.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations')
