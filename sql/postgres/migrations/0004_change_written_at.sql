-- How late other nodes apply a change is measured by one clock, the database's: in microseconds, when
-- the change was written. Rows of before have none, so that the table is not rewritten.
ALTER TABLE changes ADD COLUMN written_at bigint;
ALTER TABLE changes ALTER COLUMN written_at SET DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
