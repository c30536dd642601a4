-- The event log, the same tables as in PostgreSQL. Meaning: the module docs of src/store.rs.

CREATE TABLE engines (
    engine_id  TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    log_format INTEGER NOT NULL,
    index_key  BLOB NOT NULL,
    CONSTRAINT engines_pk PRIMARY KEY (engine_id)
) STRICT;

CREATE TABLE events (
    engine_id      TEXT NOT NULL,
    position       INTEGER NOT NULL,
    command_id     BLOB NOT NULL,
    type           TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    decide_version INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,
    step           INTEGER,
    request_id     TEXT,
    actor          TEXT,
    subject_ref    BLOB,
    trace_id       BLOB,
    clear          BLOB NOT NULL,
    content_hash   BLOB,
    leaf_hash      BLOB NOT NULL,
    chain_hash     BLOB NOT NULL,
    CONSTRAINT events_pk PRIMARY KEY (engine_id, position),
    CONSTRAINT events_position_positive CHECK (position > 0),
    CONSTRAINT events_command_id_size CHECK (length(command_id) = 16),
    CONSTRAINT events_subject_ref_size CHECK (length(subject_ref) = 16),
    CONSTRAINT events_trace_id_size CHECK (length(trace_id) = 16),
    CONSTRAINT events_content_hash_size CHECK (length(content_hash) = 32),
    CONSTRAINT events_leaf_hash_size CHECK (length(leaf_hash) = 32),
    CONSTRAINT events_chain_hash_size CHECK (length(chain_hash) = 32)
) STRICT;

CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed or deleted; append a new one');
END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed or deleted; append a new one');
END;

CREATE TABLE contents (
    engine_id TEXT NOT NULL,
    position  INTEGER NOT NULL,
    sealed    BLOB NOT NULL,
    vector    BLOB,
    CONSTRAINT contents_pk PRIMARY KEY (engine_id, position)
) STRICT;

CREATE TABLE idempotency (
    engine_id      TEXT NOT NULL,
    name_hmac      BLOB NOT NULL,
    route          TEXT NOT NULL,
    key            TEXT NOT NULL,
    body_hmac      BLOB NOT NULL,
    step           INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    ended_position INTEGER,
    expires_at     INTEGER NOT NULL,
    CONSTRAINT idempotency_pk PRIMARY KEY (engine_id, name_hmac, route, key),
    CONSTRAINT idempotency_name_hmac_size CHECK (length(name_hmac) = 32),
    CONSTRAINT idempotency_body_hmac_size CHECK (length(body_hmac) = 32)
) STRICT;
CREATE INDEX idempotency_steps ON idempotency (engine_id, step);
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

CREATE TABLE subject_keys (
    engine_id   TEXT NOT NULL,
    subject_ref BLOB NOT NULL,
    name_hmac   BLOB NOT NULL,
    wrapped_key BLOB NOT NULL,
    sealed_name BLOB NOT NULL,
    CONSTRAINT subject_keys_pk PRIMARY KEY (engine_id, subject_ref),
    CONSTRAINT subject_keys_name UNIQUE (engine_id, name_hmac),
    CONSTRAINT subject_keys_subject_ref_size CHECK (length(subject_ref) = 16),
    CONSTRAINT subject_keys_name_hmac_size CHECK (length(name_hmac) = 32)
) STRICT;
