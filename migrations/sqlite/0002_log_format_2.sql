-- Log format 2, the same tables as in PostgreSQL. Only additions: 0.1 can open this database until
-- `mlsdm upgrade finish`.

ALTER TABLE events ADD COLUMN mac_key INTEGER;
ALTER TABLE events ADD COLUMN mac BLOB
    CONSTRAINT events_mac_size CHECK ((mac IS NULL) = (mac_key IS NULL) AND length(mac) = 32);

CREATE TABLE mac_keys (
    id          INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    wrapped_key BLOB NOT NULL,
    CONSTRAINT mac_keys_pk PRIMARY KEY (id),
    CONSTRAINT mac_keys_id_positive CHECK (id > 0)
) STRICT;

CREATE TABLE quarantined_events (
    quarantine_id  BLOB NOT NULL,
    quarantined_at INTEGER NOT NULL,
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
    mac_key        INTEGER,
    mac            BLOB,
    sealed         BLOB,
    vector         BLOB,
    CONSTRAINT quarantined_events_pk PRIMARY KEY (quarantine_id, engine_id, position)
) STRICT;

CREATE TABLE replicas (
    replica    BLOB NOT NULL,
    host       TEXT NOT NULL,
    version    TEXT NOT NULL,
    log_format INTEGER NOT NULL,
    rules      INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    CONSTRAINT replicas_pk PRIMARY KEY (replica),
    CONSTRAINT replicas_replica_size CHECK (length(replica) = 8)
) STRICT;
