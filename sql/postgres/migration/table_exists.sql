-- Whether the database was ever migrated. The check must not change an empty database.
SELECT to_regclass('schema_migrations') IS NOT NULL
