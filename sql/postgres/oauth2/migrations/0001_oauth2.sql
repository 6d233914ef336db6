-- What the plugin oauth2 issues. Tokens and codes stand in tables of their own, not among the
-- entities: they are many, live briefly, and are taken by one statement each. A token or code is
-- known by its BLAKE3 digest alone; clear values are nowhere in the database.

CREATE TABLE oauth2_tokens (
    id                   uuid    NOT NULL,
    access_token         bytea   NOT NULL,
    refresh_token        bytea,
    token_hint           text    NOT NULL,
    credential_id        uuid    NOT NULL,
    -- Null is a global token.
    service_id           uuid,
    expires_in           bigint  NOT NULL,
    created_at           bigint  NOT NULL,
    -- The last second in which the row is visible; null is for ever.
    ttl                  bigint,
    authenticated_userid text,
    scope                text,
    family               uuid,
    -- Its access token was not minted here, so it has no checksum.
    imported             boolean NOT NULL DEFAULT false,
    CONSTRAINT oauth2_tokens_id PRIMARY KEY (id),
    CONSTRAINT oauth2_tokens_access_token UNIQUE (access_token),
    CONSTRAINT oauth2_tokens_refresh_token UNIQUE (refresh_token)
);
-- In the order in which the tokens of a parent are listed.
CREATE INDEX oauth2_tokens_credential ON oauth2_tokens (credential_id, id);
CREATE INDEX oauth2_tokens_service ON oauth2_tokens (service_id, id) WHERE service_id IS NOT NULL;
CREATE INDEX oauth2_tokens_ttl ON oauth2_tokens (ttl) WHERE ttl IS NOT NULL;
CREATE INDEX oauth2_tokens_imported ON oauth2_tokens (id) WHERE imported;

CREATE TABLE oauth2_authorization_codes (
    id                   uuid   NOT NULL PRIMARY KEY,
    code                 bytea  NOT NULL UNIQUE,
    credential_id        uuid   NOT NULL,
    service_id           uuid,
    plugin_id            uuid,
    authenticated_userid text,
    scope                text,
    challenge            text,
    challenge_method     text,
    redirect_uri         text,
    created_at           bigint NOT NULL,
    ttl                  bigint NOT NULL
);
CREATE INDEX oauth2_authorization_codes_credential ON oauth2_authorization_codes (credential_id);
CREATE INDEX oauth2_authorization_codes_service ON oauth2_authorization_codes (service_id)
    WHERE service_id IS NOT NULL;
CREATE INDEX oauth2_authorization_codes_plugin ON oauth2_authorization_codes (plugin_id)
    WHERE plugin_id IS NOT NULL;
CREATE INDEX oauth2_authorization_codes_ttl ON oauth2_authorization_codes (ttl);

-- What belongs to an entity goes with it. A foreign key cannot say so, because the kind of the
-- entity is part of its key. Who adds a row locks its entities (FOR KEY SHARE), so that none is
-- added behind the back of this trigger.
CREATE FUNCTION oauth2_cascade() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE OLD.kind
        WHEN 'oauth2_credentials' THEN
            DELETE FROM oauth2_authorization_codes WHERE credential_id = OLD.id;
            DELETE FROM oauth2_tokens WHERE credential_id = OLD.id;
        WHEN 'services' THEN
            DELETE FROM oauth2_authorization_codes WHERE service_id = OLD.id;
            DELETE FROM oauth2_tokens WHERE service_id = OLD.id;
        ELSE
            DELETE FROM oauth2_authorization_codes WHERE plugin_id = OLD.id;
    END CASE;
    RETURN NULL;
END
$$;
CREATE TRIGGER oauth2_cascade AFTER DELETE ON entities FOR EACH ROW
    WHEN (OLD.kind IN ('oauth2_credentials', 'services', 'plugins'))
    EXECUTE FUNCTION oauth2_cascade();
