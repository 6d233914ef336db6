-- Whether migrations are numbered per owner; early databases number them across all owners.
SELECT EXISTS (SELECT 1 FROM pragma_table_info('schema_migrations') WHERE name = 'owner')
