-- Up to where a replica has replayed the log (null: it is none), and of which server. A statement of
-- its own before the look-up, whose snapshot would otherwise be older than the position.
SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint,
       (SELECT value FROM settings WHERE name = 'feed_server')
