-- Log format 2: authentic events, quarantine, running replicas. Only additions: a replica of 0.1 goes
-- on reading and writing these tables until `mlsdm upgrade finish`.

-- NULL in events of log format 1. Neither column is covered by leaf_hash: the MAC authenticates
-- chain_hash, and with it everything before.
ALTER TABLE events ADD COLUMN mac_key bigint, ADD COLUMN mac bytea;
-- NOT VALID: the rows so far have NULL, so there is nothing to scan
ALTER TABLE events ADD CONSTRAINT events_mac_size
    CHECK ((mac IS NULL) = (mac_key IS NULL) AND octet_length(mac) = 32) NOT VALID;

-- The keys of the MACs, wrapped by the content key with their id as associated data. Beside the events,
-- not in the schema keys: a log cannot be read without them, so they belong to its backups.
CREATE TABLE mac_keys (
    id          bigint NOT NULL,
    created_at  bigint NOT NULL,
    wrapped_key bytea NOT NULL,
    CONSTRAINT mac_keys_pk PRIMARY KEY (id),
    CONSTRAINT mac_keys_id_positive CHECK (id > 0)
);

-- Events that `mlsdm audit quarantine` removed from a log, byte for byte, as evidence.
CREATE TABLE quarantined_events (
    quarantine_id  uuid NOT NULL,
    quarantined_at bigint NOT NULL,
    engine_id      text COLLATE "C" NOT NULL,
    position       bigint NOT NULL,
    command_id     uuid NOT NULL,
    type           text COLLATE "C" NOT NULL,
    schema_version bigint NOT NULL,
    decide_version bigint NOT NULL,
    recorded_at    bigint NOT NULL,
    step           bigint,
    request_id     text,
    actor          text,
    subject_ref    uuid,
    trace_id       bytea,
    clear          bytea NOT NULL,
    content_hash   bytea,
    leaf_hash      bytea NOT NULL,
    chain_hash     bytea NOT NULL,
    mac_key        bigint,
    mac            bytea,
    sealed         bytea,
    vector         bytea,
    CONSTRAINT quarantined_events_pk PRIMARY KEY (quarantine_id, engine_id, position)
);

-- The processes that serve this database, and what they can read. A row whose seen_at is old belongs
-- to a process that is gone.
CREATE TABLE replicas (
    replica    bytea NOT NULL,
    host       text NOT NULL,
    version    text NOT NULL,
    log_format bigint NOT NULL,
    rules      bigint NOT NULL,
    started_at bigint NOT NULL,
    seen_at    bigint NOT NULL,
    CONSTRAINT replicas_pk PRIMARY KEY (replica),
    CONSTRAINT replicas_replica_size CHECK (octet_length(replica) = 8)
);
