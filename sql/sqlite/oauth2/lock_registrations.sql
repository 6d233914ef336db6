-- Whether the plugin is there. The writer's transaction has registrations take turns.
SELECT 1 FROM entities WHERE kind = 'plugins' AND id = ?1
