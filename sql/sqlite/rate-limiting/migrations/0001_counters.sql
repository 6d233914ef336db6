-- How many requests were let through: one row for whoever is limited, with the window of each period that it was
-- counted in last.
CREATE TABLE rate_limiting_counters (
    -- A digest of who is limited and where.
    key BLOB PRIMARY KEY,
    -- Unix seconds; a row is deleted some time after this.
    expires_at INTEGER NOT NULL,
    -- How many requests the latest statement let through.
    granted INTEGER NOT NULL,
    second_start INTEGER NOT NULL,
    second_count INTEGER NOT NULL,
    minute_start INTEGER NOT NULL,
    minute_count INTEGER NOT NULL,
    hour_start INTEGER NOT NULL,
    hour_count INTEGER NOT NULL,
    day_start INTEGER NOT NULL,
    day_count INTEGER NOT NULL,
    month_start INTEGER NOT NULL,
    month_count INTEGER NOT NULL,
    year_start INTEGER NOT NULL,
    year_count INTEGER NOT NULL
) WITHOUT ROWID;

-- For the sweep.
CREATE INDEX rate_limiting_counters_expires_at ON rate_limiting_counters (expires_at);
