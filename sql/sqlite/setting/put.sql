-- Replaces a value that exists.
UPDATE settings SET value = ?2 WHERE name = ?1
