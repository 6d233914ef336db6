-- The parameter by which a connection recognises a session of its own.
SELECT current_setting('tollgate.session', true)
