-- One family of tables keeps the entities of every kind, so that a new kind needs no migration.
-- What identifies, connects and labels an entity stands beside its document in rows of its own,
-- where the database can enforce and index it. UUIDs are blobs of 16 bytes.

CREATE TABLE entities (
    kind       text    NOT NULL,
    id         blob    NOT NULL CHECK (length(id) = 16),
    -- The whole document, in JSON.
    body       text    NOT NULL,
    created_at integer NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;

-- Unique values: a field, or several joined with commas; the value in canonical text.
CREATE TABLE entity_keys (
    kind  text NOT NULL,
    field text NOT NULL,
    value text NOT NULL,
    id    blob NOT NULL,
    PRIMARY KEY (kind, field, value),
    FOREIGN KEY (kind, id) REFERENCES entities (kind, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX entity_keys_owner ON entity_keys (kind, id);

-- References. No entity goes while a row points to it: the store deletes what cascades first.
CREATE TABLE entity_references (
    kind        text NOT NULL,
    id          blob NOT NULL,
    field       text NOT NULL,
    target_kind text NOT NULL,
    target_id   blob NOT NULL,
    on_delete   text NOT NULL CHECK (on_delete IN ('cascade', 'restrict')),
    PRIMARY KEY (kind, id, field),
    FOREIGN KEY (kind, id) REFERENCES entities (kind, id) ON DELETE CASCADE,
    FOREIGN KEY (target_kind, target_id) REFERENCES entities (kind, id)
) STRICT, WITHOUT ROWID;
-- In the order in which the children of a parent are listed.
CREATE INDEX entity_references_target ON entity_references (target_kind, target_id, kind, field, id);

CREATE TABLE entity_tags (
    kind text NOT NULL,
    id   blob NOT NULL,
    tag  text NOT NULL,
    PRIMARY KEY (kind, tag, id),
    FOREIGN KEY (kind, id) REFERENCES entities (kind, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
-- For the lists of all tags and of one, whatever the kind.
CREATE INDEX entity_tags_owner ON entity_tags (id, tag, kind);
CREATE INDEX entity_tags_tag ON entity_tags (tag, id, kind);

-- The change feed, for a second process on the same file, such as an import. There is one writer
-- at a time, so sequence numbers are in the order of commits; AUTOINCREMENT never uses one twice.
CREATE TABLE changes (
    seq        integer PRIMARY KEY AUTOINCREMENT,
    kind       text    NOT NULL,
    operation  text    NOT NULL CHECK (operation IN ('created', 'updated', 'deleted')),
    id         blob    NOT NULL,
    -- What else identifies it to a cache, such as a token's digest.
    key        blob    NOT NULL DEFAULT x'',
    -- The process that wrote it and has already acted on it.
    origin     blob    NOT NULL,
    created_at integer NOT NULL
) STRICT;
CREATE INDEX changes_created_at ON changes (created_at);

-- Values that all processes share and the first one makes, such as the key of the tokens' checksum.
CREATE TABLE settings (
    name  text NOT NULL PRIMARY KEY,
    value blob NOT NULL
) STRICT, WITHOUT ROWID;
