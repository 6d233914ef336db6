-- How many requests were let through: one row for whoever is limited, with the window of each period that it was
-- counted in last. Rows are updated far more often than inserted, in place while their page has room.
CREATE TABLE rate_limiting_counters (
    -- A digest of who is limited and where.
    key bytea PRIMARY KEY,
    -- Unix seconds; a row is deleted some time after this.
    expires_at bigint NOT NULL,
    -- How many requests the latest statement let through.
    granted bigint NOT NULL,
    second_start bigint NOT NULL,
    second_count bigint NOT NULL,
    minute_start bigint NOT NULL,
    minute_count bigint NOT NULL,
    hour_start bigint NOT NULL,
    hour_count bigint NOT NULL,
    day_start bigint NOT NULL,
    day_count bigint NOT NULL,
    month_start bigint NOT NULL,
    month_count bigint NOT NULL,
    year_start bigint NOT NULL,
    year_count bigint NOT NULL
) WITH (fillfactor = 50);

-- For the sweep.
CREATE INDEX rate_limiting_counters_expires_at ON rate_limiting_counters (expires_at);
