-- Refreshes that can be repeated (`refresh_grace`). What a repetition gets is sealed with a key that is
-- derived from the refresh token, which is nowhere in the database.
CREATE TABLE oauth2_recent_refreshes (
    -- The digest of the refresh token that was presented.
    refresh_token blob    NOT NULL PRIMARY KEY,
    -- The row that the refresh added or renewed. It may be gone: then there is nothing to repeat.
    token_id      blob    NOT NULL,
    sealed        blob    NOT NULL,
    -- The last second in which it can be repeated.
    expires_at    integer NOT NULL
) STRICT;
CREATE INDEX oauth2_recent_refreshes_expires_at ON oauth2_recent_refreshes (expires_at);
