-- The applied migrations, from a table that numbers them across all owners: the second one was the
-- first migration of a plugin, and has its name.
SELECT CASE version WHEN 2 THEN name ELSE 'gateway' END, CASE version WHEN 2 THEN 1 ELSE version END, checksum
FROM schema_migrations ORDER BY version
