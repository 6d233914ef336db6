-- Forgets some proofs and assertions that would no longer be accepted: ?1 is the current time, ?2 the maximum number.
DELETE FROM oauth2_single_use WHERE id IN (
    SELECT id FROM oauth2_single_use WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)
