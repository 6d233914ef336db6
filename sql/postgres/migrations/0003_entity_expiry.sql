-- Entities that end by themselves, such as keys with a `ttl`: the last Unix second in which they are there.
ALTER TABLE entities ADD COLUMN expires_at bigint;
CREATE INDEX entities_expires_at ON entities (expires_at) WHERE expires_at IS NOT NULL;
