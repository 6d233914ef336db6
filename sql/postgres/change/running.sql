-- Whether a write whose response was lost may still be running: the current time, and the start
-- time of the oldest other transaction of this user in this database. A transaction leaves this
-- list after its commit has become visible.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid())
