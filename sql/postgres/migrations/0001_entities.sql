-- One family of tables keeps the entities of every kind, so that a new kind needs no migration.
-- What identifies, connects and labels an entity stands beside its document in rows of its own,
-- where the database can enforce and index it. Text is compared byte by byte ("C"), as in SQLite.

CREATE TABLE entities (
    kind       text   COLLATE "C" NOT NULL,
    id         uuid   NOT NULL,
    -- The whole document. `json` keeps the text as it was written and admits \u0000; `jsonb` does neither.
    body       json   NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (kind, id)
);

-- Unique values: a field, or several joined with commas; the value in canonical text.
CREATE TABLE entity_keys (
    kind  text COLLATE "C" NOT NULL,
    field text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    id    uuid NOT NULL,
    PRIMARY KEY (kind, field, value),
    FOREIGN KEY (kind, id) REFERENCES entities (kind, id) ON DELETE CASCADE
);
CREATE INDEX entity_keys_owner ON entity_keys (kind, id);

-- References. No entity goes while a row points to it: the store deletes what cascades first.
CREATE TABLE entity_references (
    kind        text COLLATE "C" NOT NULL,
    id          uuid NOT NULL,
    field       text COLLATE "C" NOT NULL,
    target_kind text COLLATE "C" NOT NULL,
    target_id   uuid NOT NULL,
    on_delete   text NOT NULL CHECK (on_delete IN ('cascade', 'restrict')),
    PRIMARY KEY (kind, id, field),
    FOREIGN KEY (kind, id) REFERENCES entities (kind, id) ON DELETE CASCADE,
    FOREIGN KEY (target_kind, target_id) REFERENCES entities (kind, id)
);
-- In the order in which the children of a parent are listed.
CREATE INDEX entity_references_target ON entity_references (target_kind, target_id, kind, field, id);

CREATE TABLE entity_tags (
    kind text COLLATE "C" NOT NULL,
    id   uuid NOT NULL,
    tag  text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, tag, id),
    FOREIGN KEY (kind, id) REFERENCES entities (kind, id) ON DELETE CASCADE
);
-- For the lists of all tags and of one, whatever the kind.
CREATE INDEX entity_tags_owner ON entity_tags (id, tag, kind);
CREATE INDEX entity_tags_tag ON entity_tags (tag, id, kind);

-- The change feed. Sequence numbers are drawn before the commit, so they do not tell what a reader
-- has yet to see; transaction ids do, together with the oldest one that is still running.
CREATE TABLE changes (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid        xid8   NOT NULL DEFAULT pg_current_xact_id(),
    kind       text   COLLATE "C" NOT NULL,
    operation  text   NOT NULL CHECK (operation IN ('created', 'updated', 'deleted')),
    id         uuid   NOT NULL,
    -- What else identifies it to a cache, such as a token's digest.
    key        bytea  NOT NULL DEFAULT '',
    -- The node that wrote it and has already acted on it.
    origin     uuid   NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX changes_xid ON changes (xid, seq);
CREATE INDEX changes_created_at ON changes (created_at);

-- Values that all nodes share and the first one makes, such as the key of the tokens' checksum.
CREATE TABLE settings (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);
