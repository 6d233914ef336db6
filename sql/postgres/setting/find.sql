-- The value with this name.
SELECT value FROM settings WHERE name = $1
