-- Tells the other nodes to look. Not in the writing transaction, where it would make all commits of
-- the cluster wait for one another.
NOTIFY tollgate_changes
