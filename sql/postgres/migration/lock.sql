-- Makes nodes that start together take turns. The number is used for Tollgate's migrations only.
SELECT pg_advisory_lock(7218645019384210)
