-- Notes that a proof or an assertion was presented: $1 is its id, $2 the last second in which it would be accepted.
-- One that was presented before gives no row; of two callers at the same time, one waits for the other.
INSERT INTO oauth2_single_use (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id
