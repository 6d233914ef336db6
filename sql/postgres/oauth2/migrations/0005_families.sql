-- A client revokes a token with all that descend from the same code or refresh token (RFC 7009).
CREATE INDEX IF NOT EXISTS oauth2_tokens_family ON oauth2_tokens (family) WHERE family IS NOT NULL;
