-- Authorization requests that wait: pushed by a client (RFC 9126), or begun on a device (RFC 8628). They live for
-- minutes. Their references and codes stand as digests, as tokens and codes do.

CREATE TABLE oauth2_pushed_requests (
    -- The digest of the reference in the request URI.
    reference     blob    NOT NULL PRIMARY KEY,
    credential_id blob    NOT NULL,
    plugin_id     blob    NOT NULL,
    -- A JSON object: the parameters of the authorization request.
    parameters    text    NOT NULL,
    -- The last second in which it can be used.
    expires_at    integer NOT NULL
) STRICT;
CREATE INDEX oauth2_pushed_requests_credential ON oauth2_pushed_requests (credential_id);
CREATE INDEX oauth2_pushed_requests_expires_at ON oauth2_pushed_requests (expires_at);

CREATE TABLE oauth2_device_codes (
    id                   blob    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    device_code          blob    NOT NULL UNIQUE,
    -- A keyed digest: a user code is short enough to be found by trying all of them.
    user_code            blob    NOT NULL UNIQUE,
    credential_id        blob    NOT NULL,
    service_id           blob,
    plugin_id            blob    NOT NULL,
    scope                text,
    status               text    NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'denied')),
    authenticated_userid text,
    -- JSON, as in oauth2_tokens.
    binding              text,
    -- Seconds between two polls, when the last one was, in milliseconds, and whether it came too soon.
    poll_interval        integer NOT NULL,
    polled_at            integer,
    hurried              integer NOT NULL DEFAULT 0,
    created_at           integer NOT NULL,
    -- The last second in which it can be used. The row stays for an hour, so that the device hears of it.
    expires_at           integer NOT NULL
) STRICT;
CREATE INDEX oauth2_device_codes_credential ON oauth2_device_codes (credential_id);
CREATE INDEX oauth2_device_codes_expires_at ON oauth2_device_codes (expires_at);

-- What belongs to an entity goes with it.
CREATE TRIGGER oauth2_cascade_waiting_of_credential AFTER DELETE ON entities WHEN OLD.kind = 'oauth2_credentials'
BEGIN
    DELETE FROM oauth2_pushed_requests WHERE credential_id = OLD.id;
    DELETE FROM oauth2_device_codes WHERE credential_id = OLD.id;
END;
CREATE TRIGGER oauth2_cascade_waiting_of_service AFTER DELETE ON entities WHEN OLD.kind = 'services'
BEGIN
    DELETE FROM oauth2_device_codes WHERE service_id = OLD.id;
END;
CREATE TRIGGER oauth2_cascade_waiting_of_plugin AFTER DELETE ON entities WHEN OLD.kind = 'plugins'
BEGIN
    DELETE FROM oauth2_pushed_requests WHERE plugin_id = OLD.id;
    DELETE FROM oauth2_device_codes WHERE plugin_id = OLD.id;
END;

-- Keys that sign access tokens (RFC 9068). There are a few; each is replaced by a newer one, and stays for as long as
-- one of its tokens lives.
CREATE TABLE oauth2_signing_keys (
    id          blob    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    -- The `kid` of its tokens.
    key_id      text    NOT NULL UNIQUE,
    -- The order in which keys were made: of two nodes that make the next one, one has made it.
    generation  integer NOT NULL UNIQUE,
    algorithm   text    NOT NULL,
    -- The private key, sealed with a key that is derived from a secret of the store.
    sealed      blob    NOT NULL,
    created_at  integer NOT NULL,
    -- The first second in which it signs.
    active_from integer NOT NULL,
    -- No token that it has signed lives longer, in Unix seconds.
    covers      integer NOT NULL
) STRICT;

-- Clients that have registered themselves (RFC 7591). Each has a credential, which is an entity as any other.
CREATE TABLE oauth2_registrations (
    credential_id blob    NOT NULL PRIMARY KEY,
    plugin_id     blob    NOT NULL,
    -- The digest of the registration access token.
    access_token  blob    NOT NULL,
    -- A keyed digest of the network that it came from.
    network       blob    NOT NULL,
    -- A JSON object: what the client has registered.
    metadata      text    NOT NULL,
    created_at    integer NOT NULL,
    -- From then on it is deleted when it has no token.
    unused_after  integer NOT NULL,
    -- Its client is gone; it counts for its network for a day.
    ended         integer NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX oauth2_registrations_plugin ON oauth2_registrations (plugin_id, network, created_at);
CREATE INDEX oauth2_registrations_unused_after ON oauth2_registrations (unused_after);
CREATE TRIGGER oauth2_cascade_registration AFTER DELETE ON entities WHEN OLD.kind = 'oauth2_credentials'
BEGIN
    UPDATE oauth2_registrations SET ended = 1, metadata = '{}' WHERE credential_id = OLD.id;
END;
