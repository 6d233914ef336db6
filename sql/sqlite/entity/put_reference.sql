-- References another entity from one of a declaration; it must exist.
INSERT INTO entity_references (kind, id, field, target_kind, target_id, on_delete)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
