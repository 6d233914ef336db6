-- Numbers the migrations of an early database per owner: the second one was the first migration of
-- a plugin, and has its name.
ALTER TABLE schema_migrations RENAME TO schema_migrations_early;
CREATE TABLE schema_migrations (
    owner      text    NOT NULL,
    version    integer NOT NULL,
    name       text    NOT NULL,
    applied_at integer NOT NULL,
    checksum   text    NOT NULL,
    PRIMARY KEY (owner, version)
) STRICT;
INSERT INTO schema_migrations (owner, version, name, applied_at, checksum)
SELECT CASE version WHEN 2 THEN name ELSE 'gateway' END, CASE version WHEN 2 THEN 1 ELSE version END,
       name, applied_at, checksum
FROM schema_migrations_early;
DROP TABLE schema_migrations_early;
