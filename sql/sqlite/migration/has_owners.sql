-- Whether migrations are numbered by owner; an early database numbers them through.
SELECT EXISTS (SELECT 1 FROM pragma_table_info('schema_migrations') WHERE name = 'owner')
