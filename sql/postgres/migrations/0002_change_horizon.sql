-- When changes may be removed is told by what snapshots saw, not by when rows were written: see
-- change/clean.sql.
CREATE TABLE change_horizon (
    -- One row.
    one      boolean     PRIMARY KEY DEFAULT true CHECK (one),
    -- By the database's clock, when `recent` was taken; `old` was then at least an hour old.
    taken_at bigint      NOT NULL,
    recent   pg_snapshot NOT NULL,
    old      pg_snapshot NOT NULL
);
DROP INDEX changes_created_at;
COMMENT ON COLUMN changes.origin IS 'The write it belongs to: the node that wrote it has acted on it if it knows the write.';
