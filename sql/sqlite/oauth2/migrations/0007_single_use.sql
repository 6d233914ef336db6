-- What is accepted once on all nodes: DPoP proofs (RFC 9449) and client assertions (RFC 7523), by a digest of who
-- signed them and their id.
CREATE TABLE oauth2_single_use (
    id         blob    NOT NULL PRIMARY KEY,
    -- The last second in which it would be accepted.
    expires_at integer NOT NULL
) STRICT;
CREATE INDEX oauth2_single_use_expires_at ON oauth2_single_use (expires_at);
