-- The same from a table whose numbers ran through all owners: the second migration was a plugin's first,
-- and has its name.
SELECT CASE version WHEN 2 THEN name ELSE 'gateway' END, CASE version WHEN 2 THEN 1 ELSE version END, checksum
FROM schema_migrations ORDER BY version
