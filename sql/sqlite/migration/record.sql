-- Records a migration, in its own transaction.
INSERT INTO schema_migrations (owner, version, name, applied_at, checksum) VALUES (?1, ?2, ?3, ?4, ?5)
