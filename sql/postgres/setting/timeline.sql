-- The timeline of a primary: every promotion begins a higher one, so of two servers that both accept
-- writes the one with the lower timeline is a former primary. Not every compatible database has it.
SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
