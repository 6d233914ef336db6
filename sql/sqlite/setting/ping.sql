-- Whether the database responds.
SELECT CAST(1 AS bigint)
