-- Tells other processes which access token they must forget, in the transaction of the change itself.
INSERT INTO changes (kind, operation, id, key, origin, created_at)
VALUES ('oauth2_tokens', ?1, ?2, ?3, ?4, ?5)
