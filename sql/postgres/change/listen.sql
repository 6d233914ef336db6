-- Where the bell is heard; what there is to hear is in the table.
LISTEN tollgate_changes
