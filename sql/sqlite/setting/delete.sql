-- Deletes a value: there is none from then on.
DELETE FROM settings WHERE name = ?1
