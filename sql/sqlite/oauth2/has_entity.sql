-- Whether the entity to which a row is going to belong exists. The writer's transaction keeps it.
SELECT EXISTS (SELECT 1 FROM entities WHERE kind = ?1 AND id = ?2)
