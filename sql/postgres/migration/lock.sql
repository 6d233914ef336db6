-- Nodes that start together take turns. The number stands for Tollgate's migrations and nothing else.
SELECT pg_advisory_lock(7218645019384210)
