-- Makes nodes that start together take turns, until the transaction ends. The number is used for
-- Tollgate's migrations only.
SELECT pg_advisory_xact_lock(7218645019384210)
