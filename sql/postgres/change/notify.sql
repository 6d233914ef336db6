-- Notifies the other nodes. Not in the writing transaction, where it would serialise all commits of
-- the cluster.
NOTIFY tollgate_changes
