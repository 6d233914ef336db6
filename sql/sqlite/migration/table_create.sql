-- What was applied, with its checksum, so that an edited migration is noticed.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text    NOT NULL,
    applied_at integer NOT NULL,
    checksum   text    NOT NULL
) STRICT
