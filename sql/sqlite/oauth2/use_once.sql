-- Notes that a proof or an assertion was presented: ?1 is its id, ?2 the last second in which it would be accepted.
-- One that was presented before gives no row.
INSERT INTO oauth2_single_use (id, expires_at) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING RETURNING id
