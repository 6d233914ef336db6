-- Whether entities of a kind are there that no file has declared: a declaration would replace what somebody else wrote.
SELECT id FROM entities WHERE kind = ?1 ORDER BY id
