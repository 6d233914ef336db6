-- Numbers the migrations of an early database per owner: the second one was the first migration of
-- a plugin, and has its name.
ALTER TABLE schema_migrations DROP CONSTRAINT schema_migrations_pkey;
ALTER TABLE schema_migrations ADD COLUMN owner text NOT NULL DEFAULT 'gateway';
UPDATE schema_migrations SET owner = name, version = 1 WHERE version = 2;
ALTER TABLE schema_migrations ALTER COLUMN owner DROP DEFAULT, ADD PRIMARY KEY (owner, version);
