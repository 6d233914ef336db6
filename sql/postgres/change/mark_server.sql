-- Names the server that the change feed reads: a replica that shows another one replays the log of
-- a former primary, whose positions mean nothing here.
INSERT INTO settings (name, value) VALUES ('feed_server', $1)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE settings.value <> excluded.value
