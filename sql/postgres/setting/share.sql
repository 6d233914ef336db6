-- The value with this name: the stored one, or else the given one. The update changes nothing; it
-- returns an existing row, even one inserted concurrently.
INSERT INTO settings (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = settings.value
RETURNING value
