-- What a token or a code is bound to beyond its client and service: the resources it is for (RFC 8707) and the key or
-- certificate of whoever may present it (RFC 9449, RFC 8705). JSON; null is neither.
ALTER TABLE oauth2_tokens ADD COLUMN binding text;
ALTER TABLE oauth2_authorization_codes ADD COLUMN binding text;
