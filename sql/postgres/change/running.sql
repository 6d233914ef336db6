-- Whether a write whose response was lost may still be running: the time, and when the oldest other
-- transaction of this user began that runs in this database. It leaves this list after its commit
-- has become visible.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid())
