-- How long the server lets a statement of this session run, in milliseconds; 0 is without limit.
SELECT setting FROM pg_settings WHERE name = 'statement_timeout'
