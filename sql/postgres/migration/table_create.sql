-- The applied migrations, by owner, with checksums, so that an edited migration is detected.
CREATE TABLE IF NOT EXISTS schema_migrations (
    owner      text   NOT NULL,
    version    bigint NOT NULL,
    name       text   NOT NULL,
    applied_at bigint NOT NULL,
    checksum   text   NOT NULL,
    PRIMARY KEY (owner, version)
)
