-- Deletes the values whose names are from $1 on and before $2, byte by byte.
DELETE FROM settings WHERE name COLLATE "C" >= $1 AND name COLLATE "C" < $2
