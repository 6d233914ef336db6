-- Subscribes to notifications; the changes themselves are in the table.
LISTEN tollgate_changes
