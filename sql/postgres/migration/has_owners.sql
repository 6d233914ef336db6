-- Whether migrations are numbered by owner; an early database numbers them through.
SELECT EXISTS (SELECT 1 FROM pg_attribute
               WHERE attrelid = to_regclass('schema_migrations') AND attname = 'owner' AND NOT attisdropped)
