-- Authorization requests that wait: pushed by a client (RFC 9126), or begun on a device (RFC 8628). They live for
-- minutes. Their references and codes stand as digests, as tokens and codes do.

CREATE TABLE oauth2_pushed_requests (
    -- The digest of the reference in the request URI.
    reference     bytea  NOT NULL PRIMARY KEY,
    credential_id uuid   NOT NULL,
    plugin_id     uuid   NOT NULL,
    -- A JSON object: the parameters of the authorization request.
    parameters    text   NOT NULL,
    -- The last second in which it can be used.
    expires_at    bigint NOT NULL
);
CREATE INDEX oauth2_pushed_requests_credential ON oauth2_pushed_requests (credential_id);
CREATE INDEX oauth2_pushed_requests_expires_at ON oauth2_pushed_requests (expires_at);

CREATE TABLE oauth2_device_codes (
    id                   uuid    NOT NULL PRIMARY KEY,
    device_code          bytea   NOT NULL UNIQUE,
    -- A keyed digest: a user code is short enough to be found by trying all of them.
    user_code            bytea   NOT NULL UNIQUE,
    credential_id        uuid    NOT NULL,
    service_id           uuid,
    plugin_id            uuid    NOT NULL,
    scope                text,
    status               text    NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'denied')),
    authenticated_userid text,
    -- JSON, as in oauth2_tokens.
    binding              text,
    -- Seconds between two polls, when the last one was, in milliseconds, and whether it came too soon.
    poll_interval        bigint  NOT NULL,
    polled_at            bigint,
    hurried              boolean NOT NULL DEFAULT false,
    created_at           bigint  NOT NULL,
    -- The last second in which it can be used. The row stays for an hour, so that the device hears of it.
    expires_at           bigint  NOT NULL
);
CREATE INDEX oauth2_device_codes_credential ON oauth2_device_codes (credential_id);
CREATE INDEX oauth2_device_codes_expires_at ON oauth2_device_codes (expires_at);

-- As oauth2_cascade.
CREATE FUNCTION oauth2_cascade_waiting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE OLD.kind
        WHEN 'oauth2_credentials' THEN
            DELETE FROM oauth2_pushed_requests WHERE credential_id = OLD.id;
            DELETE FROM oauth2_device_codes WHERE credential_id = OLD.id;
            UPDATE oauth2_registrations SET ended = true, metadata = '{}' WHERE credential_id = OLD.id;
        WHEN 'services' THEN
            DELETE FROM oauth2_device_codes WHERE service_id = OLD.id;
        ELSE
            DELETE FROM oauth2_pushed_requests WHERE plugin_id = OLD.id;
            DELETE FROM oauth2_device_codes WHERE plugin_id = OLD.id;
    END CASE;
    RETURN NULL;
END
$$;
CREATE TRIGGER oauth2_cascade_waiting AFTER DELETE ON entities FOR EACH ROW
    WHEN (OLD.kind IN ('oauth2_credentials', 'services', 'plugins'))
    EXECUTE FUNCTION oauth2_cascade_waiting();

-- Keys that sign access tokens (RFC 9068). There are a few; each is replaced by a newer one, and stays for as long as
-- one of its tokens lives.
CREATE TABLE oauth2_signing_keys (
    id          uuid   NOT NULL PRIMARY KEY,
    -- The `kid` of its tokens.
    key_id      text   NOT NULL UNIQUE,
    -- The order in which keys were made: of two nodes that make the next one, one has made it.
    generation  bigint NOT NULL UNIQUE,
    algorithm   text   NOT NULL,
    -- The private key, sealed with a key that is derived from a secret of the store.
    sealed      bytea  NOT NULL,
    created_at  bigint NOT NULL,
    -- The first second in which it signs.
    active_from bigint NOT NULL,
    -- No token that it has signed lives longer, in Unix seconds.
    covers      bigint NOT NULL
);

-- Clients that have registered themselves (RFC 7591). Each has a credential, which is an entity as any other.
CREATE TABLE oauth2_registrations (
    credential_id uuid   NOT NULL PRIMARY KEY,
    plugin_id     uuid   NOT NULL,
    -- The digest of the registration access token.
    access_token  bytea  NOT NULL,
    -- A keyed digest of the network that it came from.
    network       bytea  NOT NULL,
    -- A JSON object: what the client has registered.
    metadata      text   NOT NULL,
    created_at    bigint NOT NULL,
    -- From then on it is deleted when it has no token.
    unused_after  bigint NOT NULL,
    -- Its client is gone; it counts for its network for a day.
    ended         boolean NOT NULL DEFAULT false
);
CREATE INDEX oauth2_registrations_plugin ON oauth2_registrations (plugin_id, network, created_at);
CREATE INDEX oauth2_registrations_unused_after ON oauth2_registrations (unused_after);
