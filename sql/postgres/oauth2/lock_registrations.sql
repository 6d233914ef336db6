-- Registrations at a plugin take turns, so that they are counted before the next one is added.
SELECT 1 FROM entities WHERE kind = 'plugins' AND id = $1 FOR NO KEY UPDATE
