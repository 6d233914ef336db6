-- What was applied, by owner, with its checksum, so that an edited migration is noticed.
CREATE TABLE IF NOT EXISTS schema_migrations (
    owner      text    NOT NULL,
    version    integer NOT NULL,
    name       text    NOT NULL,
    applied_at integer NOT NULL,
    checksum   text    NOT NULL,
    PRIMARY KEY (owner, version)
) STRICT
