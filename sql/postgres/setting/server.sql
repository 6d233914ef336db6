-- Which server this is: whether it refuses writes, and when it was started, in microseconds.
SELECT current_setting('transaction_read_only') = 'on',
       (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint
