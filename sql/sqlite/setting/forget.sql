-- Deletes the values whose names are from ?1 on and before ?2, byte by byte.
DELETE FROM settings WHERE name >= ?1 AND name < ?2
