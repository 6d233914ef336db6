-- Deletes some expired tokens: $1 is the current time, $2 the maximum number. Of two concurrent sweeps one waits for the
-- rows of the other, and finds them gone: to skip locked rows, all of them would have to be on one shard.
DELETE FROM oauth2_tokens WHERE ttl < $1 AND access_token IN (
    SELECT access_token FROM oauth2_tokens WHERE ttl < $1 ORDER BY ttl, access_token LIMIT $2)
