-- Up to where the primary has written its log: the commit of every change that was read before this
-- statement is below. A replica that has replayed up to here shows all of them.
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint
