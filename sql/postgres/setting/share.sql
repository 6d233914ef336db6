-- The value of this name: the given one if it is the first, else the one that is there. The
-- update changes nothing; it makes the row that is there come back, even one added meanwhile.
INSERT INTO settings (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = settings.value
RETURNING value
