-- Whether the database answers.
SELECT CAST(1 AS bigint)
