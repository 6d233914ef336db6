-- Numbers the migrations of an early database by owner: the second was a plugin's first, and has its name.
BEGIN;
ALTER TABLE schema_migrations DROP CONSTRAINT schema_migrations_pkey;
ALTER TABLE schema_migrations ADD COLUMN owner text NOT NULL DEFAULT 'gateway';
UPDATE schema_migrations SET owner = name, version = 1 WHERE version = 2;
ALTER TABLE schema_migrations ALTER COLUMN owner DROP DEFAULT, ADD PRIMARY KEY (owner, version);
COMMIT;
