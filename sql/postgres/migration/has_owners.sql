-- Whether migrations are numbered per owner; early databases number them across all owners.
SELECT EXISTS (SELECT 1 FROM pg_attribute
               WHERE attrelid = to_regclass('schema_migrations') AND attname = 'owner' AND NOT attisdropped)
