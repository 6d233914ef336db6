-- Subscribes to notifications; what there is to read is in the table.
LISTEN tollgate_changes
