-- What the plugin oauth2 issues. Tokens and codes stand in tables of their own, not among the
-- entities: they are many, live briefly, and are taken in one step each. A token or code is
-- known by its BLAKE3 digest alone; clear values are nowhere in the database.

CREATE TABLE oauth2_tokens (
    id                   blob    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    access_token         blob    NOT NULL UNIQUE,
    refresh_token        blob    UNIQUE,
    token_hint           text    NOT NULL,
    credential_id        blob    NOT NULL,
    -- Null is a global token.
    service_id           blob,
    expires_in           integer NOT NULL,
    created_at           integer NOT NULL,
    -- The last second in which the row is visible; null is for ever.
    ttl                  integer,
    authenticated_userid text,
    scope                text,
    family               blob,
    -- Its access token was not minted here, so it has no checksum.
    imported             integer NOT NULL DEFAULT 0
) STRICT;
-- In the order in which the tokens of a parent are listed.
CREATE INDEX oauth2_tokens_credential ON oauth2_tokens (credential_id, id);
CREATE INDEX oauth2_tokens_service ON oauth2_tokens (service_id, id) WHERE service_id IS NOT NULL;
CREATE INDEX oauth2_tokens_ttl ON oauth2_tokens (ttl) WHERE ttl IS NOT NULL;
CREATE INDEX oauth2_tokens_imported ON oauth2_tokens (id) WHERE imported;

CREATE TABLE oauth2_authorization_codes (
    id                   blob    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    code                 blob    NOT NULL UNIQUE,
    credential_id        blob    NOT NULL,
    service_id           blob,
    plugin_id            blob,
    authenticated_userid text,
    scope                text,
    challenge            text,
    challenge_method     text,
    redirect_uri         text,
    created_at           integer NOT NULL,
    ttl                  integer NOT NULL
) STRICT;
CREATE INDEX oauth2_authorization_codes_credential ON oauth2_authorization_codes (credential_id);
CREATE INDEX oauth2_authorization_codes_service ON oauth2_authorization_codes (service_id)
    WHERE service_id IS NOT NULL;
CREATE INDEX oauth2_authorization_codes_plugin ON oauth2_authorization_codes (plugin_id)
    WHERE plugin_id IS NOT NULL;
CREATE INDEX oauth2_authorization_codes_ttl ON oauth2_authorization_codes (ttl);

-- What belongs to an entity goes with it. A foreign key cannot say so, because the kind of the
-- entity is part of its key.
CREATE TRIGGER oauth2_cascade_credential AFTER DELETE ON entities WHEN OLD.kind = 'oauth2_credentials'
BEGIN
    DELETE FROM oauth2_authorization_codes WHERE credential_id = OLD.id;
    DELETE FROM oauth2_tokens WHERE credential_id = OLD.id;
END;
CREATE TRIGGER oauth2_cascade_service AFTER DELETE ON entities WHEN OLD.kind = 'services'
BEGIN
    DELETE FROM oauth2_authorization_codes WHERE service_id = OLD.id;
    DELETE FROM oauth2_tokens WHERE service_id = OLD.id;
END;
CREATE TRIGGER oauth2_cascade_plugin AFTER DELETE ON entities WHEN OLD.kind = 'plugins'
BEGIN
    DELETE FROM oauth2_authorization_codes WHERE plugin_id = OLD.id;
END;
