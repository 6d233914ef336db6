-- What a second use of a code or refresh token ends, and what a narrowed access token was narrowed from.

-- The scope that a refresh can request; null: that of the token.
ALTER TABLE oauth2_tokens ADD COLUMN granted_scope text;
CREATE INDEX IF NOT EXISTS oauth2_tokens_family ON oauth2_tokens (family) WHERE family IS NOT NULL;

-- Codes and refresh tokens that were used, where a second use ends their family.
CREATE TABLE oauth2_used_grants (
    -- The digest of the code or refresh token.
    digest          blob    NOT NULL PRIMARY KEY,
    family          blob    NOT NULL,
    credential_id   blob    NOT NULL,
    -- The last second in which a second use is only refused.
    tolerated_until integer NOT NULL,
    -- The last second in which a second use is noticed.
    expires_at      integer NOT NULL
) STRICT;
CREATE INDEX oauth2_used_grants_expires_at ON oauth2_used_grants (expires_at);
