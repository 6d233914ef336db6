-- Whether the database was ever migrated; asking must not change an empty one.
SELECT to_regclass('schema_migrations') IS NOT NULL
